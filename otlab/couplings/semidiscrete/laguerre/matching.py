"""Pairs of noise and atoms from a fitted potential: look-up, draw, and compact storage."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from otlab.core.blocks import over_rows
from otlab.core.inputs import whole
from otlab.couplings.entropic_ot.engine.sampling import COARSE, TILE
from otlab.couplings.pairs import Pairs, noise_at
from otlab.couplings.semidiscrete.laguerre import cells
from otlab.couplings.semidiscrete.laguerre.problem import from_cost, over_mesh


def assign(result, x, *, block=None, labels=None):
    """Index (n,) of the atom with the largest g_j - c(x, y_j) + epsilon log b_j.

    The maximum inner-product search of (x, 1) among (y_j, tilt_j); see
    `SemidiscreteResult.assign`. With labels = (of x, of y) only atoms of its label count.
    """
    x, block = _points(result, x, block, labels)
    return _assign(result, x, None, None, labels, block)


def sample_pairs(result, key, x, *, ids=None, block=None, labels=None):
    """One partner (n,) for each point; see `SemidiscreteResult.sample_pairs`.

    Row i has a key of its own, from its number ids[i], or i when None, so that the draw does not
    depend on `block`; it does depend on the number of devices that the atoms are split over.
    """
    x, block = _points(result, x, block, labels)
    ids = jnp.arange(len(x)) if ids is None else ids
    return _assign(result, x, None if result.sharp else key, ids, labels, block)


def mips_form(result):
    """Vectors (m, d + 1) whose largest inner product with (x, 1) is the owner's."""
    tilt = cells.tilt(cells.dot_potential(result.g, result.y, result.cost), result.b,
                      cells.dot_units(result.epsilon, result.cost))
    return jnp.concatenate([result.y, tilt[:, None]], axis=1)


def stored_pairs(result, seed, n, start):
    """`Pairs` of noise start … start + n - 1 of `noise_at`; see `SemidiscreteResult.pairs`."""
    if not whole(n) or isinstance(start, bool) or not 0 <= start <= 2**32 - n:
        raise ValueError("pairs wants a whole number n >= 1 of noises numbered below 2^32 from "
                         f"start >= 0; got n={n!r}, start={start!r}.")
    ids = np.arange(start, start + n, dtype=np.uint32)
    block = max(1, TILE // len(result.y))
    key, d = jax.random.key(seed), result.y.shape[1]
    key_draw = jax.random.fold_in(key, 2**31)
    parts = []
    for k in range(0, n, block):
        part = jnp.asarray(ids[k:k + block])
        draw = sample_pairs(result, key_draw, noise_at(key, part, (d,)), ids=part)
        parts.append(np.asarray(draw, np.int32))
    return Pairs(seed, ids, np.concatenate(parts))


def _points(result, x, block, labels):
    x = jnp.asarray(x).astype(result.y.dtype)
    d = result.y.shape[1]
    if x.ndim != 2 or x.shape[1] != d or not len(x):
        raise ValueError(f"assign wants points x of shape (n, {d}), at least one; got {x.shape}. "
                         "Flatten images first: x.reshape(len(x), -1).")
    if block is not None and not whole(block):
        raise ValueError(f"assign wants block to be None or a whole number of rows >= 1; "
                         f"got {block!r}.")
    if labels is not None and labels[0].shape != (len(x),):
        raise ValueError(f"assign wants one label a point, shape ({len(x)},); got "
                         f"{labels[0].shape}.")
    return x, min(len(x), max(1, TILE // len(result.y)) if block is None else int(block))


@partial(jax.jit, static_argnums=5)
def _assign(result, x, key, ids, labels, block):
    h = cells.dot_potential(result.g, result.y, result.cost)
    problem = from_cost(result.y, result.b, result.epsilon, result.cost, result.sharp)
    of_x, of_y = (None, None) if labels is None else labels
    run = partial(_search, block=block)
    return over_mesh(run, result.mesh, problem, (h, of_y), (x, of_x, key, ids))[1]


def _search(problem, split, copies, *, block):
    (h, of_y), (x, of_x, key, ids) = split, copies
    m, tilt = len(h), problem.tilt(h)
    if key is not None and problem.axis is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(problem.axis))

    def gumbel(i):
        mode = "low" if m <= COARSE else "high"
        return jax.random.gumbel(jax.random.fold_in(key, i), (m,), h.dtype, mode=mode)

    def rows(i):
        z = cells.scores(x[i], problem.y)
        if key is not None:
            z = z + problem.epsilon * jax.vmap(gumbel)(ids[i])
        if of_x is not None:
            z = jnp.where(of_x[i][:, None] == of_y, z, -jnp.inf)
        return cells.everywhere(*cells.owners(z, tilt, problem.axis), m, problem.axis)

    return (), over_rows(rows, block, jnp.arange(len(x)))
