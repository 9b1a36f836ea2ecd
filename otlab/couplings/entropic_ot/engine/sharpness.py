"""How close a coupling is to a permutation: entropy on a scale from 0 to 1."""

import jax
import jax.numpy as jnp
from jax.scipy.special import entr

from otlab.couplings.entropic_ot.engine.host.shapes import of_any_size


@of_any_size()
@jax.jit
def entropy(result):
    """H(P) = -sum P log P of a `SinkhornResult`, in nats, without the (n, m) plan.

    Source: arXiv 2506.05526; row by row, H(P) = -sum_ij P_ij (log a_i + log b_j + z_ij).
    """
    a, b = result.a, result.b
    log_b = jnp.where(b > 0, jnp.log(jnp.where(b > 0, b, 1)), 0)

    def rows(C, z):
        p = b * jnp.exp(z)  # P_ij / a_i
        return jnp.stack([jnp.sum(p, axis=1), jnp.sum(p * (log_b + z), axis=1)], axis=1)

    mass, logs = result._rows(rows).T
    return jnp.sum(mass * entr(a)) - jnp.sum(a * logs)


@of_any_size()
@jax.jit
def sharpness(result):
    """Renormalised entropy 2 H(P) / (H(a) + H(b)) - 1, in [0, 1].

    0 for a permutation, 1 for the independent coupling a b^T. With equal weights it is
    1 - KL(P | a b^T) / log n: mutual information as a fraction of its maximum. Two single
    points, where both are one, count as 0. Clipped to [0, 1], which only matters before
    convergence.

    Source: arXiv 2506.05526 (renormalised entropy).
    """
    most = jnp.sum(entr(result.a)) + jnp.sum(entr(result.b))
    share = 2 * entropy(result) / jnp.where(most > 0, most, 1) - 1
    return jnp.where(most > 0, jnp.clip(share, 0, 1), 0)
