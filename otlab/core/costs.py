"""Ground costs between point clouds, and their size without an (n, m) array."""

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
from jax import lax

HIGHEST = lax.Precision.HIGHEST  # TF32 products stall Sinkhorn (OTT issue 496)
ROWS = 256  # rows of a user's cost evaluated at a time


def neg_dot(x, y):
    """C_ij = -<x_i, y_j>, shape (n, m), for x (n, d) and y (m, d).

    Its plan at epsilon is the plan of `squared_distances` at 2 epsilon: the squared norms
    depend on one index only, so the potentials absorb them.
    """
    return -jnp.matmul(x, y.T, precision=HIGHEST)


def squared_distances(x, y):
    """C_ij = |x_i - y_j|^2, shape (n, m), for x (n, d) and y (m, d).

    Both clouds are first moved by the mean of y, which changes no distance and keeps
    |x|^2 + |y|^2 - 2<x, y> accurate in float32 far from the origin.
    """
    centre = lax.stop_gradient(y.mean(axis=0))
    x, y = x - centre, y - centre
    norms = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)
    return jnp.maximum(norms + 2 * neg_dot(x, y), 0)


def distances(x, y):
    """C_ij = |x_i - y_j|, shape (n, m), for x (n, d) and y (m, d).

    By differences, so that points that meet cost exactly zero; the gradient there is zero,
    where that of a plain norm is NaN (OTT pull request 411).
    """
    return _norm(x[:, None] - y)


def manhattan(x, y):
    """C_ij = sum_k |x_ik - y_jk|, shape (n, m), for x (n, d) and y (m, d)."""
    return jnp.sum(jnp.abs(x[:, None] - y), axis=-1)


@cache
def power_cost(p: float) -> Callable:
    """The cost C_ij = sum_k |x_ik - y_jk|^p, p >= 1; one function for each p, compiled once.

    p = 2 is `squared_distances` and p = 1 `manhattan`, by differences.

    Raises:
        ValueError: for p below one, where the cost is not convex in x - y.
    """
    if not p >= 1:
        raise ValueError(f"power_cost wants p >= 1, a cost convex in x - y; got {p!r}.")

    def cost(x, y):
        return jnp.sum(jnp.abs(x[:, None] - y) ** p, axis=-1)

    cost.__name__ = cost.__qualname__ = f"power_{p:g}"
    return cost


def great_circle(x, y):
    """C_ij: the angle between unit vectors x_i and y_j, in radians, shape (n, m).

    2 arctan(|x - y| / |x + y|) is arccos <x, y> without its loss of digits near 0 and pi and
    without its infinite gradient there: the gradient at equal and at opposite points is finite.

    Source: Kahan (2006), How futile are mindless assessments of roundoff?, "Mangled angles".
    """
    return 2 * jnp.arctan2(_norm(x[:, None] - y), _norm(x[:, None] + y))


def squared_great_circle(x, y):
    """C_ij: the squared angle between unit vectors x_i and y_j, shape (n, m)."""
    return great_circle(x, y) ** 2


COSTS = {"sqeuclidean": squared_distances, "dot": neg_dot}


def resolve_cost(cost) -> Callable:
    """The function (x, y) -> C (n, m) behind a name; a callable is returned as it is."""
    if callable(cost):
        return cost
    if isinstance(cost, str) and cost in COSTS:
        return COSTS[cost]
    raise ValueError(
        f"cost must be one of {sorted(COSTS)} or a function (x, y) -> C of shape (n, m); "
        f"got {cost!r}."
    )


def paired_cost(x, y, *, cost="sqeuclidean"):
    """c(x_i, y_i) row by row, shape (n,): the diagonal of C, without the rest of it."""
    cost = resolve_cost(cost)
    return jax.vmap(lambda p, q: cost(p[None], q[None])[0, 0])(x, y)


def std_cost(x, y, *, cost="dot", centre=True):
    r"""Standard deviation of C over all pairs, in units of C, without an (n, m) array.

    centre=True measures only the part of C that shapes the plan: rows and columns are
    centred first, since potentials absorb any c_i + d_j. For "dot" that leaves
    -<x_i - mean(x), y_j - mean(y)>, for "sqeuclidean" twice as much, so that one relative
    epsilon gives one plan with either cost. It ignores translations of either cloud.

    centre=False is the plain standard deviation of C, which a translation inflates.

    O(n d^2) for the named costs: tr(Sigma_x Sigma_y) is the centred variance for "dot".
    Any other cost is evaluated by blocks of rows, O(n m).

    Source: large Sinkhorn couplings, arXiv 2506.05526 (std(C) from d x d moments).
    """
    resolve_cost(cost)
    return _std_cost(x, y, cost, centre)


@partial(jax.jit, static_argnums=(2, 3))
def _std_cost(x, y, cost, centre):
    if callable(cost):
        return _std_by_rows(x, y, cost, centre)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    xc, yc = x - mean_x, y - mean_y
    cov_x = jnp.matmul(xc.T, xc, precision=HIGHEST) / len(x)  # (d, d)
    cov_y = jnp.matmul(yc.T, yc, precision=HIGHEST) / len(y)
    variance = jnp.sum(cov_x * cov_y)  # of <xc, yc>
    if cost == "dot":
        if not centre:
            variance += mean_y @ cov_x @ mean_y + mean_x @ cov_y @ mean_x
        return jnp.sqrt(variance)
    if centre:
        return 2 * jnp.sqrt(variance)
    # |x - y|^2 = u_i + v_j - 2 <xc, yc>, three uncorrelated parts: u, v hold the shift.
    shift = mean_x - mean_y
    u = jnp.sum(xc * xc, axis=1) + 2 * xc @ shift
    v = jnp.sum(yc * yc, axis=1) - 2 * yc @ shift
    return jnp.sqrt(u.var() + v.var() + 4 * variance)


def mean_cost(x, y, *, cost="sqeuclidean"):
    """Mean of C over all pairs, in units of C; O(nd) for the named costs."""
    resolve_cost(cost)
    if callable(cost):
        return _row_means(x, y, cost).mean()
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    if cost == "dot":
        return -jnp.sum(mean_x * mean_y)
    spread = x.var(axis=0) + y.var(axis=0) + (mean_x - mean_y) ** 2
    return jnp.sum(spread)


def relative_epsilon(x, y, epsilon, *, cost="dot"):
    """epsilon in units of C: `epsilon * std_cost(x, y, cost=cost)`, both clouds centred.

    The scale-free dial of arXiv 2506.05526: 1 blurs, 0.01 nearly pairs one to one. Zero
    when a cloud is a single point, which `sinkhorn` refuses.
    """
    return epsilon * std_cost(x, y, cost=cost, centre=True)


def _row_means(x, y, cost):
    return lax.map(lambda row: cost(row[None], y)[0].mean(), x, batch_size=ROWS)


def _std_by_rows(x, y, cost, centre):
    rows = _row_means(x, y, cost)  # (n,)
    total = rows.mean()
    columns = jnp.zeros(len(y), rows.dtype)
    if centre:
        columns = lax.map(lambda p: cost(x, p[None])[:, 0].mean(), y, batch_size=ROWS) - total
    else:
        rows = jnp.full_like(rows, total)

    def squares(args):
        point, mean = args
        return jnp.mean((cost(point[None], y)[0] - mean - columns) ** 2)

    return jnp.sqrt(jax.lax.map(squares, (x, rows), batch_size=ROWS).mean())


def _norm(v):
    """Euclidean norm of the last axis, with gradient zero at zero."""
    squares = jnp.sum(v * v, axis=-1)
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)
