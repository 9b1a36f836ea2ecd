"""The entropic map of a Sinkhorn plan, the epsilon to give it, and how to judge a plan."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from otlab.core.blocks import over_rows
from otlab.core.costs import mean_cost, paired_cost, resolve_cost
from otlab.core.inputs import clouds
from otlab.couplings.entropic_ot.sinkhorn import SinkhornResult, sinkhorn

SCALES = tuple(2.0**k for k in range(-3, 4))  # Algorithm 4: multiples of the default epsilon
SHARE = 1 / 20  # the default epsilon, as a share of the mean cost


def entropic_map(result: SinkhornResult, z, *, block: int | None = None) -> Float[Array, "k d"]:
    """The barycentric projection of a Sinkhorn plan, at any points z (k, d).

    E(z) = sum_j p_j(z) y_j with p(z) = softmax_j(log b_j + (g_j - C(z, y_j)) / epsilon). Only
    the potential of the target enters, so z need not be among the points solved for.

    Args:
        result: a solve with cost "sqeuclidean", |x - y|^2, or "dot", -<x, y>. Then
            E(z) = z - grad f(z) / 2 and E(z) = -grad f(z), one map at epsilon and epsilon / 2.
            Papers often write |x - y|^2 / 2; their epsilon is half of ours, too.
        z: points to move, shape (k, d).
        block: rows of z at a time; None for all, a table of k m numbers.

    Raises:
        ValueError: for another cost, or points of another dimension.

    Source: arXiv 2406.05061, section 2; Pooladian and Niles-Weed, arXiv 2109.12004.
    """
    if result.cost not in ("sqeuclidean", "dot"):
        raise ValueError(
            "entropic_map averages targets, which is the map of the costs 'sqeuclidean' and "
            f"'dot' only; this result was solved with cost={result.cost!r}."
        )
    z = jnp.asarray(z)
    if z.ndim != 2 or z.shape[1] != result.y.shape[1]:
        raise ValueError(
            f"entropic_map wants z of shape (k, {result.y.shape[1]}), the dimension of y; "
            f"got {z.shape}. A single point is z[None]."
        )
    z = z.astype(result.y.dtype)
    return _barycentre(z, result.y, result.g, result.b, result.epsilon, result.cost, block)


@partial(jax.jit, static_argnums=(5, 6))
def _barycentre(z, y, g, b, epsilon, cost, block):
    def rows(z):
        p = jax.nn.softmax(jnp.log(b) + (g - resolve_cost(cost)(z, y)) / epsilon, axis=1)
        return jnp.matmul(p, y, precision="highest")

    return over_rows(rows, block, z)


def default_epsilon(x, y) -> Float[Array, ""]:
    """A twentieth of the mean of |x_i - y_j|^2: the common rule, which grows with the distance.

    Source: arXiv 2406.05061, Algorithm 4, step 1.
    """
    return SHARE * mean_cost(*clouds(x, y, "sinkhorn"))


class Calibration(eqx.Module):
    """What `calibrate_epsilon` tried; epsilon is the best trial.

    epsilons: trials, smallest first.  errors: mean |y - E(y)|^2 over held-out points, each.
    at_edge: the best is the first or the last, so the range may be too short.
    status: a `Status` code for each.
    """

    epsilon: Float[Array, ""]
    epsilons: Float[Array, " trials"]
    errors: Float[Array, " trials"]
    at_edge: Bool[Array, ""]
    status: Int[Array, " trials"]


def calibrate_epsilon(
    y, held_out, *, scales=SCALES, b=None, tol=1e-3, max_steps=5_000
) -> Calibration:
    """The epsilon whose entropic map of y to itself best gives held-out target points back.

    From a cloud to itself the true map is the identity, so the error of E is known without any
    label, and without the source: mean |y - E(y)|^2 over held-out points.

    Args:
        y: target points to fit on, shape (m, d); b: their weights, equal when None.
        held_out: target points to judge by, shape (k, d), none of them in y; 60 or more.
        scales: trials, in units of default_epsilon(y, y).
        tol, max_steps: as in `sinkhorn`.

    Returns:
        Calibration, in units of |x - y|^2.

    Source: arXiv 2406.05061, Algorithm 4, step 2.
    """
    epsilons = jnp.sort(jnp.asarray(scales) * default_epsilon(y, y))
    errors, status, last = [], [], None
    for epsilon in epsilons[::-1]:  # from blurred to sharp: each solve starts from the last one
        last = sinkhorn(y, y, epsilon=epsilon, a=b, b=b, tol=tol, max_steps=max_steps, init=last)
        errors.append(jnp.mean(jnp.sum((entropic_map(last, held_out) - held_out) ** 2, axis=1)))
        status.append(last.status)
    errors, status = jnp.stack(errors[::-1]), jnp.stack(status[::-1])
    best = jnp.argmin(errors)
    at_edge = (best == 0) | (best == len(errors) - 1)
    return Calibration(epsilons[best], epsilons, errors, at_edge, status)


class Recovery(eqx.Module):
    """How well a plan finds known partners: trace, their mass (0 to 1); kl, KL(truth | plan)."""

    trace: Float[Array, ""]
    kl: Float[Array, ""]


def recovery(result: SinkhornResult, partners=None) -> Recovery:
    """Mass that a plan puts on the true pairs (i, partners[i]), in O(n d).

    trace = sum_i P[i, j(i)] and kl = sum_i a_i log(a_i / P[i, j(i)]): one and zero when every
    point has found its partner and no other.

    Args:
        result: a solve, for ProgOT the last one, `result.solves[-1]`.
        partners: indices into y, shape (n,); i goes with i when None.

    Raises:
        ValueError: for partners of another shape.

    Source: arXiv 2406.05061, Table 2 (trace, and KL to the identity).
    """
    n, m = len(result.x), len(result.y)
    if partners is None and n != m:
        raise ValueError(
            f"recovery pairs point i with point i, and here are {n} sources and {m} targets; give "
            "partners, the index of each source point's true target."
        )
    partners = jnp.arange(n) if partners is None else jnp.asarray(partners)
    if partners.shape != (n,) or not jnp.issubdtype(partners.dtype, jnp.integer):
        raise ValueError(
            f"recovery wants partners of shape ({n},), whole numbers; got {partners.dtype.name} of "
            f"shape {partners.shape}."
        )
    return _recovery(result, partners)


@jax.jit
def _recovery(result, j):
    cost = paired_cost(result.x, result.y[j], cost=result.cost)
    # log P_ij / a_i, never P_ij itself: far from the truth it underflows
    logs = jnp.log(result.b[j]) + (result.f + result.g[j] - cost) / result.epsilon
    kept = jnp.where(result.a > 0, logs, 0)
    return Recovery(result.a @ jnp.exp(logs), -(result.a @ kept))
