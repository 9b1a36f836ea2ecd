"""The cost matrix as the solver meets it: exponentials summed along an axis, or a kernel of them.

`Table` is traced and may be streamed; `host.tables` has the same for NumPy arrays.
"""

import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp

from otlab.core.blocks import over_rows
from otlab.core.costs import resolve_cost

WHOLE = 1 << 24  # entries up to which a kernel is built in one piece, twice as fast
ROWS = 512  # otherwise, rows at a time


class Table:
    """C = cost(x, y) for x (n, d) and y (m, d); `block` and `shards` as in `reducer`."""

    def __init__(self, x, y, cost, block, shards=1):
        self.x, self.y, self.cost, self.block, self.shards = x, y, cost, block, shards
        self._reduce = reducer(x, y, cost, block, shards)

    @property
    def shape(self):
        """(n, m)."""
        return len(self.x), len(self.y)

    def part(self, rows=None, columns=None) -> "Table":
        """The table of some rows and some columns, given by their numbers; None means all."""
        x = self.x if rows is None else self.x[rows]
        y = self.y if columns is None else self.y[columns]
        block = self.block if rows is None or columns is None else None
        return Table(x, y, self.cost, block, self.shards if rows is None else 1)

    def sums(self, kept, other, epsilon, axis, safe=False):
        """log sum exp((kept + other - C) / epsilon) along axis; kept has the other axis' length.

        Near the fixed point the sums are close to one: no maximum is needed, and XLA fuses the
        table away. Where one would over- or underflow, all are done again with it; `safe` does
        so at once.
        """
        def reduced(safe):
            return self._reduce(lambda C, k: totals(C, k, other, epsilon, axis, safe), kept, axis)

        if safe:
            return reduced(True)
        total = reduced(False)
        return lax.cond(usable(total), lambda: jnp.log(total), lambda: reduced(True))

    def kernel(self, p, q, epsilon):
        """exp(p + q - C / epsilon), stored, shape (n, m)."""
        cost = resolve_cost(self.cost)

        def block(x, p):
            return jnp.exp(outer(p, q, 1) - cost(x, self.y) / epsilon)

        rows = None if len(p) * len(q) <= WHOLE * self.shards else ROWS
        return over_rows(block, rows, self.x, p, shards=self.shards)

    def largest(self):
        """The largest |C|, NaN when there is one."""
        return jnp.max(self._reduce(lambda C, _: jnp.max(jnp.abs(C), axis=1), self.x[:, 0], 1))

    def spread(self):
        """Standard deviation of C."""
        def mean(fn):
            return jnp.mean(self._reduce(lambda C, _: jnp.mean(fn(C), axis=1), self.x[:, 0], 1))

        middle = mean(lambda C: C)
        return jnp.sqrt(mean(lambda C: (C - middle) ** 2))


def totals(C, kept, other, epsilon, axis, safe):
    """sum exp((kept + other - C) / epsilon) along axis; when safe its logarithm, the maximum taken
    out before."""
    exponents = (outer(kept, other, axis) - C) / epsilon
    return logsumexp(exponents, axis=axis) if safe else jnp.sum(jnp.exp(exponents), axis=axis)


def usable(total):
    """Whether sums of exponentials taken without their maximum kept their digits."""
    return ((total > 1e-20) & (total < 1e30)).all()


def reducer(x, y, cost, block, shards=1):
    """A function reduce(fn, kept, axis) over the table C = cost(x, y).

    axis=1 keeps rows: fn(C, kept) gets C (rows, m) with kept (rows,) and returns (rows, …).
    axis=0 keeps columns: C (n, columns) with kept (columns,). With `block` set only that
    many rows or columns of C exist at a time, on each of the `shards` devices that hold rows
    of x; with None, C is computed once and kept.
    """
    cost = resolve_cost(cost)
    if block is None:
        C = cost(x, y)
        return lambda fn, kept, axis: fn(C, kept)

    def reduce(fn, kept, axis):
        if axis == 1:
            return over_rows(lambda rows, k: fn(cost(rows, y), k), block, x, kept, shards=shards)
        return over_rows(lambda columns, k: fn(cost(x, columns), k), block, y, kept)

    return reduce


def outer(kept, other, axis):
    """kept + other as a table, kept along rows (axis=1) or along columns (axis=0)."""
    return kept[:, None] + other if axis == 1 else other[:, None] + kept
