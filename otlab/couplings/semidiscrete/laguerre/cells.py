"""Who owns a noise point: the cells of weighted atoms, sharp or soft, and their masses.

Everything here is for the cost -<x, y>. Atom j scores <x, y_j> + tilt_j at x, where
tilt = h + epsilon log b for a potential h; the largest score owns x. Atoms may be split by rows
over a mesh axis: each device finds its local best, then one small exchange picks the winner.
"""

import jax.numpy as jnp
from jax import lax

from otlab.core.costs import HIGHEST
from otlab.core.linalg import row_argmax


def dot_potential(g, y, cost):
    """h in units of <x, y>, for a potential g (m,) of the named cost.

    |x - y|^2 = |x|^2 + |y|^2 - 2<x, y>, so g_j - |x - y_j|^2 = 2 (<x, y_j> + h_j) - |x|^2 with
    h = (g - |y|^2) / 2: the same cells, at half the epsilon.
    """
    return g if cost == "dot" else (g - jnp.sum(y * y, axis=1)) / 2


def cost_potential(h, y, cost):
    """The inverse of `dot_potential`: g (m,) in units of the named cost."""
    return h if cost == "dot" else 2 * h + jnp.sum(y * y, axis=1)


def dot_units(value, cost):
    """An epsilon or a step size of the named cost in units of <x, y>."""
    return value if cost == "dot" else value / 2


def tilt(h, b, epsilon):
    """h + epsilon log b, and -inf for atoms without weight: they own nothing."""
    return jnp.where(b > 0, h + epsilon * jnp.log(jnp.where(b > 0, b, 1)), -jnp.inf)


def scores(x, y):
    """<x_i, y_j>, shape (n, m), at full precision."""
    return jnp.matmul(x, y.T, precision=HIGHEST)


def owners(z, tilt, axis=None):
    """Row by row the best atom of z + tilt: its index here, and whether it lives here.

    With `axis` the atoms are split over a mesh axis, and eight bytes a row and device travel.
    """
    top, j = row_argmax(z, tilt)
    if axis is None:
        return j, jnp.ones(len(z), bool)
    winner = jnp.argmax(lax.all_gather(top, axis), axis=0)
    return j, winner == lax.axis_index(axis)


def everywhere(j, here, m, axis):
    """Indices into all atoms from those of `owners`, on every device; m atoms live on each."""
    if axis is None:
        return j
    return lax.psum(jnp.where(here, j + m * lax.axis_index(axis), 0), axis)


def shares(x, y, tilt, epsilon, *, sharp, axis=None):
    """Sums over the points x (n, d) of the assignment probabilities s_j(x) and of their squares.

    s is one-hot on the owner when `sharp`, else the softmax of (<x, y_j> + tilt_j) / epsilon.
    Both have shape (m,), for the atoms that live here.
    """
    z = scores(x, y)
    if sharp:
        j, here = owners(z, tilt, axis)
        total = jnp.zeros_like(tilt).at[j].add(here.astype(tilt.dtype))
        return total, total
    top = jnp.max(z + tilt, axis=1, keepdims=True)
    top = top if axis is None else lax.pmax(top, axis)
    e = jnp.exp((z + tilt - top) / epsilon)
    norm = jnp.sum(e, axis=1)
    scale = 1 / (norm if axis is None else lax.psum(norm, axis))
    total = jnp.matmul(scale, e, precision=HIGHEST)
    return total, jnp.matmul(scale * scale, e * e, precision=HIGHEST)


def chi2(total, squares, n, b, axis=None):
    """Unbiased chi-squared distance of the cells' masses from b, from n noise points.

    sum_j (total_j^2 - squares_j) / (n (n - 1) b_j) - 1: a U-statistic over pairs of distinct
    points, where the plug-in sum_j total_j^2 / (n^2 b_j) - 1 is too large by about m / n at
    epsilon = 0. It may be negative. Atoms without weight do not count.

    Source: arXiv 2509.25519, equation 3.5.
    """
    return weigh(total * total - squares, b, axis) / n / (n - 1) - 1


def weigh(v, b, axis=None):
    """sum_j v_j / b_j over the atoms with weight."""
    whole = jnp.sum(jnp.where(b > 0, v / jnp.where(b > 0, b, 1), 0))
    return whole if axis is None else lax.psum(whole, axis)
