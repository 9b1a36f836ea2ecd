"""Log-likelihood of a flow: exact or Hutchinson divergence, and true bits per dimension."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.blocks import over_rows
from otlab.core.inputs import cloud, positive_int
from otlab.flows.sampling import METHODS

DIVERGENCES = ("exact", "hutchinson")


def divergence(model, t, x: Array) -> Float[Array, ""]:
    """div v(t, x) at one point: the trace of the Jacobian in x, by d forward derivatives."""
    flat = x.reshape(-1)
    jacobian = jax.jacfwd(lambda z: model(t, z.reshape(x.shape)).reshape(-1))(flat)
    return jnp.trace(jacobian)


def hutchinson_divergence(model, t, x: Array, probes: Array) -> Float[Array, ""]:
    """Unbiased estimate of div v at one point: mean of z^T J z over probes (p, *x.shape).

    Source: Hutchinson (1990); Grathwohl et al. (2019), FFJORD.
    """
    def one(z):
        return jnp.sum(z * jax.jvp(lambda x: model(t, x), (x,), (z,))[1])

    return jax.vmap(one)(probes).mean()


def standard_normal(x: Array) -> Float[Array, ""]:
    """Log-density of N(0, I) at one point, in nats."""
    return -0.5 * jnp.sum(x**2) - 0.5 * x.size * math.log(2 * math.pi)


def log_likelihood(model, x1: Array, *, steps: int, divergence: str = "exact", key=None,
                   probes: int = 1, method: str = "rk4", base=standard_normal,
                   block: int = 256) -> Float[Array, " n"]:
    r"""log p1(x1) = log p0(x0) - int_0^1 div v(t, x_t) dt, for each point, in nats.

    The path x_t runs back from x1 at t = 1 to x0 at t = 0.

    Args:
        model: velocity v(t, x) of one point.
        x1: points whose likelihood is asked, shape (n, ...).
        steps: equal steps of the solver.
        divergence: "exact" (d derivatives a step) or "hutchinson" (one for each probe; the
            Rademacher probes of a point are drawn once and kept along its path).
        key, probes: PRNG key and number of the probes; read by "hutchinson" only.
        method: "euler", "midpoint", "heun" or "rk4".
        base: log-density of one point at t = 0.
        block: points carried at once, which bounds memory.

    Raises:
        ValueError: for an unknown divergence or method, a missing key, steps below one,
            an empty or non-finite x1.

    Source: Chen et al. (2018), eq. 4; arXiv 2506.05526, section 4 of the sheet.
    """
    if divergence not in DIVERGENCES:
        raise ValueError(f"divergence must be one of {', '.join(DIVERGENCES)}; got {divergence!r}.")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    if divergence == "hutchinson" and key is None:
        raise ValueError('divergence="hutchinson" draws random probes; give it key=.')
    cloud("x1", x1, "such points have no likelihood")
    keys = None
    if divergence == "hutchinson":
        keys = jax.random.split(key, len(x1))
    return _log_likelihood(model, x1, keys, jnp.asarray(positive_int("steps", steps)),
                           positive_int("probes", probes), method, base, block)


@eqx.filter_jit
def _log_likelihood(model, x1, keys, steps, probes, method, base, block):
    stepper = METHODS[method]
    dt = -1 / steps.astype(x1.dtype)

    def one(x, key):
        if key is None:
            def trace(t, x):
                return divergence(model, t, x)
        else:
            z = jax.random.rademacher(key, (probes, *x.shape), x.dtype)

            def trace(t, x):
                return hutchinson_divergence(model, t, x, z)

        def flow(t, state):
            return State(model(t, state.x), trace(t, state.x))

        def body(k, state):
            return stepper(flow, 1 + k.astype(dt.dtype) * dt, state, dt)

        start = State(x, jnp.zeros((), x.dtype))
        end = jax.lax.fori_loop(jnp.zeros_like(steps), steps, body, start)
        # Backwards in time the integral comes out with its sign changed.
        return base(end.x) + end.divergence

    return over_rows(jax.vmap(one), block, x1, keys)


class State(eqx.Module):
    """A point and the divergence met so far, with the sums and multiples that solvers use."""

    x: Array
    divergence: Array

    def __add__(self, other):
        return jax.tree.map(jnp.add, self, other)

    def __rmul__(self, factor):
        return jax.tree.map(lambda a: factor * a, self)


def bits_per_dim(log_p: Array, d: int, *, bin_width: float = 1.0) -> Float[Array, ""]:
    r"""Mean of -log p / (d log 2) - log2(bin_width): bits per dimension.

    Args:
        log_p: log-densities in nats, shape (n,).
        d: number of dimensions, 64 for an 8 x 8 image.
        bin_width: 1 for the density itself. For data on a grid, dequantised by uniform noise,
            the width of its bins (17 grey levels spread over [-1, 1]: 2/16) gives the bits
            of the discrete data.

    Raises:
        ValueError: for d below one, a width that is not positive, or no value.
    """
    if jnp.size(log_p) == 0:
        raise ValueError("bits_per_dim got no log-density to average.")
    if not bin_width > 0:
        raise ValueError(f"bin_width must be positive; got {bin_width}.")
    return -jnp.mean(log_p) / (positive_int("d", d) * math.log(2)) - math.log2(bin_width)
