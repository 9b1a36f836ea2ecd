"""One-step students: what they regress on, with pairs alone or with a teacher at hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.inputs import check_pair
from otlab.flows.objectives import FlowMatching, velocities
from otlab.flows.reflow.times import noise_end


def one_step(model, x0: Array) -> Array:
    """x0 + v(0, x0): the map of a one-step student, for many points (n, ...)."""
    return x0 + jax.vmap(model, in_axes=(None, 0))(jnp.zeros((), x0.dtype), x0)


class Distillation(eqx.Module):
    """Mean of |x0 + v(0, x0) - x1|^2: the student names the end of the path at once.

    It is flow matching with all mass of the times at noise. Source: Liu et al. (2023),
    InstaFlow, arXiv 2309.06380 (without its perceptual loss).
    """

    def __call__(self, key, model, x0: Array, x1: Array) -> Float[Array, ""]:
        """The loss of stored pairs, (n, ...) each."""
        return FlowMatching(times=noise_end)(key, model, x0, x1)


class TwoStep(eqx.Module):
    r"""Mean of |v(0, x0) - [s a + (1 - s) v'(s, x0 + s a)]|^2, s uniform in [low, high].

    The target is the mean velocity of two steps of the teacher v', with the first one, a, taken
    by the student itself (`own`, cheaper) or by the teacher. No gradient passes through it.

    Source: Zhu et al. (2024), SlimFlow, arXiv 2407.12718, flow-guided distillation; time
    turned, so s = 1 - t there.
    """

    teacher: eqx.Module
    low: Float[Array, ""]
    high: Float[Array, ""]
    own: bool = eqx.field(static=True)

    def __init__(self, teacher, *, low=0.2, high=0.8, own: bool = True):
        if not 0 < low <= high < 1:
            raise ValueError(f"the split time needs 0 < low <= high < 1; got {low} and {high}.")
        self.teacher, self.own = teacher, bool(own)
        self.low, self.high = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)

    def target(self, s, x0: Array, first: Array) -> Array:
        """Mean velocity of two teacher steps split at s (n,), from first velocities (n, ...)."""
        part = s.reshape(-1, *[1] * (x0.ndim - 1))
        return part * first + (1 - part) * velocities(self.teacher, s, x0 + part * first)

    def __call__(self, key, model, x0: Array, x1: Array) -> Float[Array, ""]:
        """The loss of sources x0 (n, ...); x1 is not read."""
        check_pair(x0, x1)
        u = jax.random.uniform(key, (len(x0),), x0.dtype)
        s = self.low.astype(x0.dtype) + (self.high - self.low).astype(x0.dtype) * u
        zero = jnp.zeros(len(x0), x0.dtype)
        guess = velocities(model, zero, x0)
        first = guess if self.own else velocities(self.teacher, zero, x0)
        target = jax.lax.stop_gradient(self.target(s, x0, first))
        return jnp.sum((guess - target) ** 2) / len(x0)


class FlowGuided(eqx.Module):
    """Distillation on exact stored pairs plus `weight` times the two-step loss at their noise."""

    two_step: TwoStep
    weight: Float[Array, ""]

    def __init__(self, teacher, *, weight=1.0, low=0.2, high=0.8, own: bool = True):
        self.two_step = TwoStep(teacher, low=low, high=high, own=own)
        self.weight = jnp.asarray(weight, jnp.float32)

    def __call__(self, key, model, x0: Array, x1: Array) -> Float[Array, ""]:
        """The loss of stored pairs, (n, ...) each."""
        exact = Distillation()(key, model, x0, x1)
        return exact + self.weight.astype(x0.dtype) * self.two_step(key, model, x0, x1)
