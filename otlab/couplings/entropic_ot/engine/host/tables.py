"""The solver on NumPy arrays: what it computes with is there, and Python leads it.

Compiled are only the table of a small problem and, of a large one, the sums over its rows or
columns and its kernel; each once for a size class, since clouds are filled up (see shapes.py).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from otlab.core.costs import resolve_cost
from otlab.couplings.entropic_ot.engine.host import shapes
from otlab.couplings.entropic_ot.engine.tables import ROWS, Table, outer, totals, usable

SMALL = 1 << 16  # entries below which NumPy is as fast as a program: 256 points by 256
MEDIUM = 1 << 18  # entries up to which a table is kept in any case: 512 points by 512
KEPT = 1 << 24  # entries up to which a table is kept beside its kernel: 64 MiB in float32
NARROW = 8  # coordinates up to which a named cost is computed again as fast as it is read
TILE = 1 << 20  # entries of a larger one that are made at a time,
LEAST = 64  # and rows of it
NEAR = 20.0  # a stored kernel serves potentials that have moved by so many epsilon at most


def table(x, y, cost):
    """The table of x (n, d) and y (m, d), NumPy arrays, in the form that its size asks for."""
    entries = len(x) * len(y)
    if entries <= SMALL:
        return Stored(_costs_of(x, y, cost))
    cheap = isinstance(cost, str) and x.shape[1] <= NARROW and entries > MEDIUM
    return (Tiled if cheap or entries > KEPT else Kept)(x, y, cost)


class Stored:
    """A table C (n, m) that is there, and the last kernel of it, for as long as it serves."""

    def __init__(self, C):
        self.C = C
        self._memory = None  # for exponents, where new memory takes as long as they do
        self._kernel = None  # (epsilon, K, p, q) with K = exp(p + q - C / epsilon)

    @property
    def shape(self):
        return self.C.shape

    def part(self, rows=None, columns=None):
        C = self.C if rows is None else self.C[rows]
        return Stored(C if columns is None else np.take(C, columns, axis=1))

    def sums(self, kept, other, epsilon, axis, safe=False):
        """As `Table.sums`; on the last kernel where the potentials are still near its own."""
        kept, other = kept / epsilon, other / epsilon
        if self._kernel is not None and self._kernel[0] == epsilon:
            _, K, *potentials = self._kernel
            there, moved = potentials[1 - axis], other - potentials[axis]
            if np.abs(moved).max() <= NEAR:
                total = K @ np.exp(moved) if axis == 1 else np.exp(moved) @ K
                if usable(total):
                    return np.log(total) + (kept - there)
        rows, columns = (kept, other) if axis == 1 else (other, kept)
        self._kernel = None
        z = self._memory = self._exponents(rows, columns, epsilon, self._memory)
        top = z.max(axis=axis)
        top[~np.isfinite(top)] = 0
        z -= top[:, None] if axis == 1 else top
        np.exp(z, out=z)
        if np.isfinite(other.sum() + kept.sum()):
            self._kernel = epsilon, z, *((rows - top, columns) if axis else (rows, columns - top))
        ones = np.ones(len(other), z.dtype)
        return np.log(z @ ones if axis == 1 else ones @ z) + top

    def kernel(self, p, q, epsilon):
        z = self._exponents(p, q, epsilon)
        return np.exp(z, out=z)

    def _exponents(self, p, q, epsilon, memory=None):
        z = np.multiply(self.C, -1 / epsilon, out=memory)
        z += p[:, None]
        z += q
        return z

    def largest(self):
        return np.max(np.abs(self.C))

    def spread(self):
        return np.std(self.C)


class Kept:
    """A table that a program made, kept for programs that sum over it, whatever its cost."""

    def __init__(self, x, y, cost):
        self.x, self.y, self.cost, self.shape = x, y, cost, (len(x), len(y))
        self._C = _costs(shapes.filled(x, cost), shapes.filled(y, cost), cost)

    def part(self, rows=None, columns=None):
        x = self.x if rows is None else self.x[rows]
        return table(x, self.y if columns is None else self.y[columns], self.cost)

    def sums(self, kept, other, epsilon, axis, safe=False):
        """As `Table.sums`; what is filled in has no weight."""
        n, m = self._C.shape
        kept_size, other_size = (n, m) if axis == 1 else (m, n)
        filled = shapes.filled_vector(kept, kept_size, kept[0])
        other = shapes.filled_vector(other, other_size, -np.inf)

        def totals(safe):
            return np.asarray(_sums(self._C, filled, other, epsilon, axis, safe))[:len(kept)]

        if not safe and usable(total := totals(False)):
            return np.log(total)
        return totals(True)

    def kernel(self, p, q, epsilon):
        (n, m), (n_filled, m_filled) = self.shape, self._C.shape
        p = shapes.filled_vector(p, n_filled, -np.inf)
        q = shapes.filled_vector(q, m_filled, -np.inf)
        return np.asarray(_kernel(self._C, p, q, epsilon))[:n, :m]

    def largest(self):
        return np.asarray(_largest(self._C))[()]

    def spread(self):
        n, m = self.shape
        return np.std(np.asarray(self._C)[:n, :m])


class Tiled(Kept):
    """A table too large to keep: tiles of it are made one after another, each time.

    A loop over tiles inside of a program would take six times as long to compile as the sums over
    one.
    """

    def __init__(self, x, y, cost):
        self.x, self.y, self.cost, self.shape = x, y, cost, (len(x), len(y))
        self._clouds = shapes.filled(x, cost), shapes.filled(y, cost)

    def sums(self, kept, other, epsilon, axis, safe=False):
        x, y = self._clouds if axis == 1 else self._clouds[::-1]
        filled = shapes.filled_vector(kept, len(x), kept[0])
        other = shapes.filled_vector(other, len(y), -np.inf)
        at, y = _tiles(len(x), len(y)), jax.device_put(y)

        def totals(safe):
            parts = [_tile_sums(x[i], y, filled[i], other, epsilon, self.cost, axis, safe)
                     for i in at]
            return np.concatenate([np.asarray(v) for v in parts])[:len(kept)]

        if not safe and usable(total := totals(False)):
            return np.log(total)
        return totals(True)

    def kernel(self, p, q, epsilon):
        (n, m), (x, y) = self.shape, self._clouds
        p = shapes.filled_vector(p, len(x), -np.inf)
        q = shapes.filled_vector(q, len(y), -np.inf)
        return np.asarray(_large_kernel(x, y, p, q, epsilon, self.cost))[:n, :m]

    def largest(self):
        x, y = self._clouds
        at, y = _tiles(len(x), len(y)), jax.device_put(y)
        return np.max([np.asarray(v) for v in [_tile_largest(x[i], y, self.cost) for i in at]])

    def spread(self):
        return np.std(_costs_of(self.x, self.y, self.cost))


def _tiles(rows, columns):
    """Numbers of the rows of each tile; the last is filled up with the final row."""
    step = max(LEAST, 2 ** ((TILE // columns).bit_length() - 1))
    if rows <= step:
        return [np.arange(rows)]
    return [np.minimum(np.arange(i, i + step), rows - 1) for i in range(0, rows, step)]


def _costs_of(x, y, cost):
    C = _costs(shapes.filled(x, cost), shapes.filled(y, cost), cost)
    return np.asarray(C)[:len(x), :len(y)]


@partial(jax.jit, static_argnums=2)
def _costs(x, y, cost):
    return resolve_cost(cost)(x, y)


@partial(jax.jit, static_argnums=(4, 5))
def _sums(C, kept, other, epsilon, axis, safe):
    return totals(C, kept, other, epsilon, axis, safe)


@jax.jit
def _kernel(C, p, q, epsilon):
    return jnp.exp(outer(p, q, 1) - C / epsilon)


@jax.jit
def _largest(C):
    return jnp.max(jnp.abs(C))


@partial(jax.jit, static_argnums=(5, 6, 7))
def _tile_sums(x, y, kept, other, epsilon, cost, axis, safe):
    """Sums over y for the points x, the rows of the table (axis=1) or its columns (axis=0)."""
    C = _costs(*((x, y) if axis == 1 else (y, x)), cost)
    return totals(C, kept, other, epsilon, axis, safe)


@partial(jax.jit, static_argnums=5)
def _large_kernel(x, y, p, q, epsilon, cost):
    return Table(x, y, cost, ROWS).kernel(p, q, epsilon)


@partial(jax.jit, static_argnums=2)
def _tile_largest(x, y, cost):
    return _largest(_costs(x, y, cost))
