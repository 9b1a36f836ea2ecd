"""How good a flow is: curvature, reconstruction, energy and Fréchet distances."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from otlab.core.blocks import over_rows
from otlab.core.costs import squared_distances
from otlab.core.inputs import cloud, positive_int
from otlab.core.linalg import symmetric_power


class Curvature(eqx.Module):
    """How far trajectories are from straight lines at constant speed.

    kappa: curvature, in squared length; 0 is straight.
    straightness: kappa over the mean squared displacement of the ends; no unit.
    x1: end points of the Euler trajectories, shape (n, ...).
    """

    kappa: Float[Array, ""]
    straightness: Float[Array, ""]
    x1: Array


@eqx.filter_jit
def _curvature(model, x0, steps, start, stop):
    v = jax.vmap(model, in_axes=(None, 0))
    dt = (stop - start) / steps

    def body(carry, k):
        x, mean, spread = carry
        v_t = v(start + k * dt, x)
        gap = v_t - mean                  # Welford: no difference of two large numbers
        mean = mean + gap / (k + 1)
        return (x + dt * v_t, mean, spread + jnp.sum(gap * (v_t - mean))), None

    carry = (x0, jnp.zeros_like(x0), jnp.zeros((), x0.dtype))
    (x1, _, spread), _ = jax.lax.scan(body, carry, jnp.arange(steps, dtype=x0.dtype))
    kappa = jnp.abs(stop - start) * spread / steps / len(x0)
    return Curvature(kappa, kappa / (jnp.sum((x1 - x0) ** 2) / len(x0)), x1)


def curvature(model, x0: Array, *, steps: int = 50, start=0.0, stop=1.0) -> Curvature:
    r"""kappa = 1/N sum_i int |v(t, x_t^i) - (x_1^i - x_0^i)|^2 dt along the model's own paths.

    The integral and the paths use the same Euler grid, so that x_1 - x_0 is exactly the mean
    of the velocities met and kappa their variance in time (over other intervals than [0, 1]
    the mean velocity (x_1 - x_0) / (stop - start) takes the place of the displacement).

    Args:
        model: velocity v(t, x) of one point.
        x0: starting points, shape (n, ...).
        steps: Euler steps (50 in the paper).

    Source: arXiv 2506.05526, section 4 of the sheet.
    """
    cloud("x0", x0)
    start, stop = jnp.asarray(start, x0.dtype), jnp.asarray(stop, x0.dtype)
    return _curvature(model, x0, positive_int("steps", steps), start, stop)


def reconstruction(x: Array, y: Array) -> Float[Array, ""]:
    """R = mean over points of |x_i - y_i|^2, between what a map gives, x, and should give, y.

    Both of shape (n, ...); in squared length. Divide by `total_variance(y)` for a share.
    """
    cloud("x", x)
    cloud("y", y)
    if x.shape != y.shape:
        raise ValueError(f"reconstruction compares row by row; got x {x.shape} and y {y.shape}.")
    return jnp.sum((x - y) ** 2) / len(x)


def total_variance(y: Array) -> Float[Array, ""]:
    """Trace of the covariance of a cloud (n, ...), in squared length."""
    cloud("y", y)
    return jnp.sum((y - y.mean(0)) ** 2) / len(y)


@partial(jax.jit, static_argnames="block")
def _mean_distance(x, y, apart, block):
    """Mean over pairs of |x_i - y_j|, in blocks of rows; pairs i = j count zero when `apart`."""
    def row(i, point):
        squares = squared_distances(point[None], y)[0]
        squares = jnp.where(apart & (jnp.arange(len(y)) == i), 0, squares)
        safe = jnp.where(squares > 0, squares, 1)      # the root has no slope at zero
        return jnp.sum(jnp.where(squares > 0, jnp.sqrt(safe), 0)) / len(y)

    return jnp.mean(over_rows(jax.vmap(row), block, jnp.arange(len(x)), x))


def energy_distance(x: Array, y: Array, *, unbiased: bool = True,
                    block: int = 512) -> Float[Array, ""]:
    r"""2 E|X - Y| - E|X - X'| - E|Y - Y'|, in units of length; zero only for equal laws.

    Args:
        x, y: clouds of shape (n, ...) and (m, ...); n and m may differ.
        unbiased: True leaves out the pairs of a point with itself (U-statistic): mean zero for
            two samples of one law, so it can fall below zero. False keeps them (V-statistic):
            never negative, but two samples of one law give about E|X - X'| (1/n + 1/m).
        block: rows of the distance matrix held at a time; not part of the answer.

    Source: Székely and Rizzo (2013).
    """
    cloud("x", x)
    cloud("y", y)
    n, m = len(x), len(y)
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"energy_distance wants points of one shape; got {x.shape} and {y.shape}.")
    if unbiased and min(n, m) < 2:
        raise ValueError(f"unbiased=True needs two points a cloud; got {n} and {m}. "
                         "Take unbiased=False.")
    x, y = x.reshape(n, -1), y.reshape(m, -1)
    scale_x = jnp.asarray(n / (n - 1) if unbiased else 1.0, x.dtype)
    scale_y = jnp.asarray(m / (m - 1) if unbiased else 1.0, x.dtype)
    block = positive_int("block", block)
    return (2 * _mean_distance(x, y, False, block) - scale_x * _mean_distance(x, x, True, block)
            - scale_y * _mean_distance(y, y, True, block))


def frechet_distance(features_a, features_b, *, shrinkage: float = 0.0) -> float:
    r"""|m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), the squared 2-Wasserstein distance of
    the Gaussians fitted to two sets of features.

    The last trace is the sum of the singular values of A^1/2 B^1/2: roots come from symmetric
    eigendecompositions with negative rounding clipped, in double precision, and no product of
    covariances is ever squared, so small eigenvalues keep their digits.

    Args:
        features_a, features_b: shapes (n, d) and (m, d). Below a few d samples the estimate
            is biased upwards: compare sets of one size only.
        shrinkage: share s in [0, 1) of each covariance replaced by its mean variance,
            (1 - s) A + s tr(A)/d I; 0 is the usual FID formula.

    Returns a float, in squared units of the features. Source: Heusel et al. (2017), eq. 6.
    """
    if not 0 <= shrinkage < 1:
        raise ValueError(f"shrinkage must be in [0, 1); got {shrinkage}.")
    moments = []
    for name, features in (("features_a", features_a), ("features_b", features_b)):
        z = np.asarray(features, np.float64)
        if z.ndim != 2 or len(z) < 2:
            raise ValueError(f"{name} must be (n, d) with n of at least 2; got {z.shape}.")
        if not np.isfinite(z).all():
            raise ValueError(f"{name} holds NaN or infinite values; did the sampler diverge?")
        covariance = np.atleast_2d(np.cov(z, rowvar=False))
        spread = np.trace(covariance) / z.shape[1]
        covariance = (1 - shrinkage) * covariance + shrinkage * spread * np.eye(z.shape[1])
        moments.append((z.mean(0), covariance))
    (m_a, A), (m_b, B) = moments
    if m_a.shape != m_b.shape:
        raise ValueError(f"Both sets need one number of features; got {len(m_a)}, {len(m_b)}.")
    cross = np.linalg.svd(symmetric_power(A, 0.5) @ symmetric_power(B, 0.5), compute_uv=False).sum()
    return float(np.sum((m_a - m_b) ** 2) + np.trace(A) + np.trace(B) - 2 * cross)
