"""Normalised flow matching: the codes of a frozen normalising flow as the noise of a student."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.inputs import finite, number, positive_int
from otlab.flows.autoregressive import encode


class Teacher(eqx.Module):
    """A frozen encoder with the two numbers that make its codes a student's noise.

    flow: any function (x, label) -> (code, log|det|) of one point; its weights are never trained.
    eta: level of the noise in its input.   sigma: rms of its codes, by which they are divided.
    turn: None, or an orthogonal matrix (d, d) that multiplies the codes, seen as columns: no
        likelihood can tell it from the identity.
    """

    flow: eqx.Module
    eta: Float[Array, ""] | float
    sigma: Float[Array, ""] | float = 1.0
    turn: Float[Array, "d d"] | None = None

    def __check_init__(self):
        number("eta", self.eta, lambda v: v >= 0, "zero or more")
        number("sigma", self.sigma, lambda v: v >= 1e-12, "positive")

    def codes(self, key, x: Array, labels=None, *, block: int = 512) -> Array:
        r"""f(x + eta e) / sigma with fresh noise e, for data x (n, ...); no gradient passes.

        Source: sheet of arXiv 2603.09014, section 3.3.
        """
        noise = jax.random.normal(key, x.shape, x.dtype)
        return self.codes_of(x + jnp.asarray(self.eta, x.dtype) * noise, labels, block=block)

    def codes_of(self, noisy: Array, labels=None, *, block: int = 512) -> Array:
        """The codes of points that carry their noise already, shape (n, ...)."""
        z = encode(self.flow, noisy, labels, block=block)[0] / jnp.asarray(self.sigma, noisy.dtype)
        if self.turn is not None:
            z = jnp.matmul(z.reshape(len(z), -1), self.turn.T.astype(z.dtype)).reshape(z.shape)
        return jax.lax.stop_gradient(z)


class CodeReport(eqx.Module):
    """Moments of a teacher's codes before any division: what the student's noise must match.

    sigma: root of the mean square over codes and coordinates.
    mean, rms: of every coordinate, shape (d,).
    """

    sigma: Float[Array, ""]
    mean: Float[Array, " d"]
    rms: Float[Array, " d"]


def code_report(key, flow, x: Array, labels=None, *, eta) -> CodeReport:
    """Measure the codes f(x + eta e) of data x (n, ...), one draw of e for each.

    Raises:
        ValueError: when a code is not finite, which a teacher's training has then broken.
    """
    z = Teacher(flow, eta).codes(key, x, labels).reshape(len(x), -1)
    finite("the teacher's code", z, "train it again with a lower learning rate or a smaller limit "
           "of the log-scale")
    squares = (z**2).mean(0)
    return CodeReport(jnp.sqrt(squares.mean()), z.mean(0), jnp.sqrt(squares))


def calibrated(key, flow, x: Array, labels=None, *, eta) -> Teacher:
    """The flow as a frozen `Teacher` whose codes of x have mean square one."""
    return Teacher(flow, eta, code_report(key, flow, x, labels, eta=eta).sigma)


def cache_codes(key, teacher: Teacher, data: Array, labels=None, *, draws: int) -> Array:
    """`draws` codes of every datum, shape (m, draws, ...): pairs that need the teacher no more."""
    keys = jax.random.split(key, positive_int("draws", draws))
    return jnp.stack([teacher.codes(k, data, labels) for k in keys], axis=1)


def procrustes(z: Array, x: Array) -> Float[Array, "d d"]:
    """The orthogonal matrix Q that brings the codes z nearest their data: min mean |Q z - x|^2.

    z, x: paired rows, (n, ...) each. Q = U V^T, with U S V^T the singular value decomposition of
    mean x z^T (Schönemann, 1966). Reflections count.
    """
    if z.shape != x.shape or len(z) == 0:
        raise ValueError(f"procrustes wants paired rows; got {z.shape} and {x.shape}.")
    z, x = z.reshape(len(z), -1), x.reshape(len(x), -1)
    U, _, Vt = jnp.linalg.svd(jnp.matmul(x.T, z, precision="highest") / len(x))
    return jnp.matmul(U, Vt, precision="highest")


def squared_grid(steps: int) -> Float[Array, " steps+1"]:
    """Times 1 - (1 - i / N)^2 from noise, 0, to data, 1: steps shrink towards the data.

    The paper counts time from the data and takes t^2 on an even grid. For
    `sampling.sample(times=)`.
    """
    return 1 - (1 - jnp.linspace(0.0, 1.0, positive_int("steps", steps) + 1)) ** 2


def noise_time(eta):
    """The time at which a flow's path carries noise of level eta: 1 / (1 + eta).

    (1 - t) z + t x is t (x + eta z) with eta = (1 - t) / t. In the paper's time, from the data,
    it reads eta / (1 + eta).
    """
    return 1 / (1 + eta)
