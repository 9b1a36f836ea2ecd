"""Score from velocity for flows between coupled ends: Tweedie's formula with a correction.

Noise X0 ~ N(0, I) at t = 0, an atom X1 at t = 1, X_t = (1 - t) X0 + t X1. With the independent
coupling v_t alone gives the score of rho_t; with a semidiscrete one it needs delta as well.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.couplings.semidiscrete.laguerre import cells
from otlab.couplings.semidiscrete.laguerre.problem import from_cost


class Marginal(NamedTuple):
    """What the coupling says of X_t = x, for every x of a cloud.

    velocity: v_t(x) = E[X1 - X0 | X_t = x], shape (n, d).
    delta: E[X1 - E[X1 | X0] | X_t = x] / epsilon, shape (n, d); zero at epsilon = 0.
    log_density: log rho_t(x), shape (n,).
    """

    velocity: Float[Array, "n d"]
    delta: Float[Array, "n d"]
    log_density: Float[Array, " n"]


def score(t, x, velocity, delta=0.0):
    r"""grad log rho_t(x) = (t v_t(x) - x + delta(t, x)) / (1 - t), shape of x, for t < 1.

    delta = 0 for the independent coupling, and inside the cells at epsilon = 0.

    Source: derived from rho_t(x) = sum_j int N(x0) s_j(x0) delta_x((1 - t) x0 + t y_j) dx0 with
    grad log s_j = (y_j - E[X1 | X0]) / epsilon; generalises Tweedie's formula, arXiv 2509.25519.
    """
    return (t * velocity - x + delta) / (1 - t)


@jax.jit
def marginal(result, t, x) -> Marginal:
    """Velocity, correction and density at X_t = x under a semidiscrete coupling, in closed form.

    Given x, partner j leaves one noise x0_j = (x - t y_j) / (1 - t), of posterior weight
    N(x0_j) s_j(x0_j). O(m^2 d) a point: for small m, as a check of what a network learns.

    Args:
        result: SemidiscreteResult fitted to `standard_normal`.
        t: time, 0 <= t < 1.   x: points, shape (n, d).

    Returns:
        Marginal; NaN where rho_t(x) = 0, which happens between the moving cells at epsilon = 0.
    """
    h = cells.dot_potential(result.g, result.y, result.cost)
    problem = from_cost(result.y, result.b, result.epsilon, result.cost, result.sharp)
    y, tilt, m = result.y, problem.tilt(h), len(h)
    t = jnp.asarray(t, y.dtype)

    def one(x):
        x0 = (x - t * y) / (1 - t)  # (m, d): the noise that partner j implies
        z = cells.scores(x0, problem.y) + tilt
        if result.sharp:
            s = jax.nn.one_hot(jnp.argmax(z, axis=1), m, dtype=y.dtype)
            log_s, pull = jnp.log(jnp.diagonal(s)), jnp.zeros_like(y)
        else:
            log_z = jax.nn.log_softmax(z / problem.epsilon, axis=1)
            log_s = jnp.diagonal(log_z)
            pull = (y - jnp.matmul(jnp.exp(log_z), y, precision="highest")) / problem.epsilon
        d = x.size
        log_w = log_s - jnp.sum(x0 * x0, axis=1) / 2 - d * jnp.log(2 * jnp.pi) / 2
        log_density = jax.nn.logsumexp(log_w) - d * jnp.log(1 - t)
        w = jax.nn.softmax(log_w)[:, None]
        return Marginal(jnp.sum(w * (y - x0), axis=0), jnp.sum(w * pull, axis=0), log_density)

    return jax.lax.map(one, x)
