"""Where Sinkhorn starts: from a small part of both clouds, then on the way down to epsilon.

Every k-th point of each cloud is solved first, epsilon falling from the spread of its costs to
where so few points still speak for all. Soft c-transforms carry that answer to every point, and
a few sweeps at each smaller epsilon sharpen it.

Source: annealing as in Schmitzer (2019); potentials of a sample, Pooladian and Niles-Weed (2021).
"""

import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp

from otlab.couplings.entropic_ot.engine.iterate import anneal, log_domain, log_rows
from otlab.couplings.entropic_ot.engine.tiles import outer, reducer

PART = 512  # points of a cloud that are solved first, at most,
SHARE = 4  # and one point in so many
COARSE = 0.2  # of the spread of the costs: the epsilon down to which a part is solved
NEAR = 4.0  # an epsilon so many times smaller is near enough to go on without annealing
ROUGH = 2e-2  # to this row error: the other points bring an error of their own
PATIENCE = 60  # sweeps at most


def begin(x, y, a, b, epsilon, cost, block, shards, reduce):
    """Scaled potentials (p, q) for all points of x (n, d) and y (m, d)."""
    if max(len(x), len(y)) <= PART // 2:
        zeros = jnp.zeros_like(a), jnp.zeros_like(b)
        f, g = anneal(reduce, a, b, epsilon, *zeros, _spread(reduce, x))
        return f / epsilon, g / epsilon
    x_part, a_part = _part(x, a)
    y_part, b_part = _part(y, b)
    part = reducer(x_part, y_part, cost, None)
    spread = _spread(part, x_part)
    coarse = jnp.maximum(epsilon, COARSE * spread)
    zeros = jnp.zeros_like(a_part), jnp.zeros_like(b_part)
    f, g = anneal(part, a_part, b_part, coarse, *zeros, spread)
    rows = log_rows(part, a_part, b_part, coarse)
    found = log_domain(rows, f / coarse, g / coarse, a_part, jnp.asarray(ROUGH, x.dtype),
                       PATIENCE).now
    f = -coarse * _transform(x, y_part, found.q + jnp.log(b_part), coarse, cost, block, shards, 1)
    g = -coarse * _transform(x_part, y, found.p + jnp.log(a_part), coarse, cost, block, 1, 0)
    f, g = lax.cond(NEAR * epsilon < coarse,
                    lambda: anneal(reduce, a, b, epsilon, f, g, coarse), lambda: (f, g))
    return f / epsilon, g / epsilon


def _transform(x, y, scaled, epsilon, cost, block, shards, axis):
    """log sum exp(scaled - C / epsilon) along axis: a soft c-transform."""
    def transform(C, zeros):
        return logsumexp(outer(zeros, scaled, axis) - C / epsilon, axis=axis)

    kept = x if axis else y
    return reducer(x, y, cost, block, shards)(transform, jnp.zeros(len(kept), x.dtype), axis)


def _part(x, a):
    """A few points, evenly spread in the order of the cloud, with their weights."""
    n = len(x)
    few = min(PART, max(n // SHARE, PART // 2))
    if n <= few:
        return x, a
    rows = jnp.arange(few) * n // few
    a = a[rows]
    total = jnp.sum(a)
    equal = jnp.full_like(a, 1 / few)
    return x[rows], jnp.where(total > 0, a / jnp.where(total > 0, total, 1), equal)


def _spread(reduce, x):
    """Standard deviation of the table."""
    def rows(fn):
        return jnp.mean(reduce(lambda C, _: jnp.mean(fn(C), axis=1), x[:, 0], 1))

    mean = rows(lambda C: C)
    return jnp.sqrt(rows(lambda C: (C - mean) ** 2))
