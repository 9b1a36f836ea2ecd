"""Where training looks and where sampling steps: laws of the time, and a warped grid."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.core.inputs import number, positive, positive_int
from otlab.flows.objectives import uniform

__all__ = ["Cosh", "Exponential", "SigmoidGrid", "noise_end", "uniform"]


class Exponential(eqx.Module):
    r"""Times with density proportional to base^(1 - t): `base` times as many at noise as at data.

    base 1 is the uniform law, and as base grows all mass goes to t = 0, where ReFlow becomes
    distillation. With time the other way round (noise at 1) it is the 10^t law of
    arXiv 2410.07815. Sampled by inversion: t = 1 - log(1 + (base - 1) u) / log(base).
    """

    base: Float[Array, ""]

    def __init__(self, base):
        self.base = jnp.asarray(positive("base", base, "1 is uniform."), jnp.float32)

    def quantile(self, u: Array) -> Array:
        """Time below which a share u of the mass lies."""
        log_base = jnp.log(self.base).astype(u.dtype)
        flat = jnp.abs(log_base) < 1e-3
        safe = jnp.where(flat, 1, log_base)
        bent = 1 - jnp.log1p(jnp.expm1(safe) * (1 - u)) / safe
        # Second order around the uniform law, where the formula is 0 / 0.
        return jnp.where(flat, u - log_base * u * (1 - u) / 2, bent)

    def density(self, t: Array) -> Array:
        """Density at t in [0, 1]."""
        log_base = jnp.log(self.base).astype(t.dtype)
        flat = jnp.abs(log_base) < 1e-3
        safe = jnp.where(flat, 1, log_base)
        return jnp.where(flat, 1 + log_base * (0.5 - t),
                         safe * jnp.exp(safe * (1 - t)) / jnp.expm1(safe))

    def __call__(self, key, n: int, dtype=jnp.float32) -> Float[Array, " n"]:
        """n times."""
        return self.quantile(uniform(key, n, dtype))


class Cosh(eqx.Module):
    """Times with density proportional to cosh(steepness (t - 1/2)): many at both ends.

    Source: Lee et al. (2024), arXiv 2405.20320, steepness 4; printed there before centring.
    """

    steepness: Float[Array, ""]

    def __init__(self, steepness):
        self.steepness = jnp.asarray(positive("steepness", steepness), jnp.float32)

    def quantile(self, u: Array) -> Array:
        """Time below which a share u of the mass lies."""
        a = self.steepness.astype(u.dtype)
        return 0.5 + jnp.arcsinh((2 * u - 1) * jnp.sinh(a / 2)) / a

    def density(self, t: Array) -> Array:
        """Density at t in [0, 1]."""
        a = self.steepness.astype(t.dtype)
        return a * jnp.cosh(a * (t - 0.5)) / (2 * jnp.sinh(a / 2))

    def __call__(self, key, n: int, dtype=jnp.float32) -> Float[Array, " n"]:
        """n times."""
        return self.quantile(uniform(key, n, dtype))


def noise_end(key, n: int, dtype=jnp.float32) -> Float[Array, " n"]:
    """n times, all 0: flow matching on given pairs then is one-step distillation of them."""
    return jnp.zeros(n, dtype)


class SigmoidGrid(eqx.Module):
    """Steps between times that a sigmoid crowds at both ends, for `sampling.sample(times=)`.

    t_i = (s(kappa (i/steps - 1/2)) - s(-kappa/2)) / (s(kappa/2) - s(-kappa/2)), s the sigmoid;
    kappa 0 is the even grid, and the paper's kappa is about 20. Source: arXiv 2410.07815.
    """

    steps: Int[Array, ""]
    kappa: Float[Array, ""]

    def __init__(self, steps: int, kappa):
        self.steps = jnp.asarray(positive_int("steps", steps))
        self.kappa = jnp.asarray(number("kappa", kappa, lambda k: k >= 0, "zero or more"),
                                 jnp.float32)

    def time(self, k) -> Array:
        """The time after k steps."""
        share = k.astype(self.kappa.dtype) / self.steps.astype(self.kappa.dtype)
        flat = self.kappa < 1e-2
        half = jnp.where(flat, 1, self.kappa) / 2          # sigmoid(z) = (1 + tanh(z / 2)) / 2
        bent = (1 + jnp.tanh(half * (share - 0.5)) / jnp.tanh(half / 2)) / 2
        bent = jnp.where(flat, share, bent)
        return jnp.where(share <= 0, 0, jnp.where(share >= 1, 1, bent))    # the ends exactly

    def at(self, k):
        """(time before step k, its length)."""
        return self.time(k), self.time(k + 1) - self.time(k)

    def times(self) -> Array:
        """All of them, shape (steps + 1,); not under jit."""
        return self.time(jnp.arange(int(self.steps) + 1))
