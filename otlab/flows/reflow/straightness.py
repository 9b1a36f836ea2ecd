"""What ReFlow gains, in squared length: straightness of a flow, crossing of a coupling."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.inputs import check_pair, positive_int
from otlab.flows.measures.metrics import curvature
from otlab.flows.objectives import velocities
from otlab.flows.paths import LinearPath


class Balance(eqx.Module):
    r"""The terms of E|x1 - x0|^2 - E|z1 - z0|^2 = S + V, over one time interval of length 1.

    before: E|x1 - x0|^2 of the pairs that the flow was trained on.
    after: E|z1 - z0|^2 of the pairs that it makes.
    straightness: S, the mean of |dz/dt - (z1 - z0)|^2 along its paths; 0 is straight.
    crossing: V, the mean of |x1 - x0 - v(t, x_t)|^2; 0 when no two segments meet.

    The identity holds for the exact v = E[x1 - x0 | x_t]. A learned v has a larger
    "crossing", its whole loss. Source: Liu et al. (2022), arXiv 2209.03003, theorem 3.5.
    """

    before: Float[Array, ""]
    after: Float[Array, ""]
    straightness: Float[Array, ""]
    crossing: Float[Array, ""]

    @property
    def residual(self) -> Float[Array, ""]:
        """before - after - S - V, zero up to Monte Carlo and the time grid."""
        return self.before - self.after - self.straightness - self.crossing


def balance(model, x0: Array, x1: Array, z0: Array, *, steps: int) -> Balance:
    """All four terms, from training pairs (x0, x1) and fresh sources z0, on `steps` times.

    Args:
        model: velocity v(t, x) of one point.
        x0, x1: pairs that it was (or could have been) trained on, (n, ...) each.
        z0: sources of its own paths, (m, ...); they must have the distribution of x0.
        steps: Euler steps of the paths, and times of the crossing.
    """
    check_pair(x0, x1)
    own = curvature(model, z0, steps=steps)
    return Balance(jnp.sum((x1 - x0) ** 2) / len(x0), jnp.sum((own.x1 - z0) ** 2) / len(z0),
                   own.kappa, loss_by_time(model, x0, x1, times=steps).mean())


def loss_by_time(model, x0: Array, x1: Array, *, times: int) -> Float[Array, " times"]:
    """Mean of |x1 - x0 - v(t, x_t)|^2 over the pairs, at the middles of `times` equal intervals.

    Its mean is the crossing V of the pairs when v is exact. As a curve it says at which times
    a loss still has something to learn.
    """
    check_pair(x0, x1)
    return _loss_by_time(model, x0, x1, positive_int("times", times))


@eqx.filter_jit
def _loss_by_time(model, x0, x1, times):
    def at(t):
        t = jnp.broadcast_to(t, (len(x0),))
        x_t, v_t = jax.vmap(LinearPath())(t, x0, x1)
        return jnp.sum((velocities(model, t, x_t) - v_t) ** 2) / len(x0)

    return jax.lax.map(at, (jnp.arange(times, dtype=x0.dtype) + 0.5) / times)


class MixtureVelocity(eqx.Module):
    """The exact v = E[x1 - x0 | x_t] of independent pairs, x0 ~ N(0, I), x1 a Gaussian mixture.

    weights: (k,), of sum one.   means: (k, d).   scale: standard deviation of every component.
    """

    weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    scale: Float[Array, ""]

    def __call__(self, t: Float[Array, ""], x: Float[Array, " d"]) -> Float[Array, " d"]:
        """v(t, x) of one point."""
        t = jnp.asarray(t, x.dtype)
        variance = (1 - t) ** 2 + (t * self.scale) ** 2          # of x_t in one component
        gap = x - t * self.means                                  # (k, d)
        chosen = jax.nn.softmax(jnp.log(self.weights) - jnp.sum(gap**2, 1) / (2 * variance))
        each = self.means + (t * self.scale**2 - (1 - t)) / variance * gap
        return chosen @ each

    def sample(self, key, n: int) -> Float[Array, "n d"]:
        """n points of the mixture."""
        key_which, key_noise = jax.random.split(key)
        which = jax.random.categorical(key_which, jnp.log(self.weights), shape=(n,))
        noise = jax.random.normal(key_noise, (n, self.means.shape[1]), self.means.dtype)
        return self.means[which] + self.scale * noise
