"""Optimal transport on a line: no iteration, only sorting."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.core.inputs import clouds, known, simplex


class LineResult(eqx.Module):
    """The optimal plan in n + m - 1 pieces: mass[k] goes from x[i[k]] to y[j[k]].

    f, g: optimal potentials, in units of the cost: f_i + g_j <= C_ij, with equality where mass
        moves (and g = 0 at the least y).
    value: the transport cost, sum_k mass[k] C_i[k]j[k]; differentiable in x, y, a and b.
    """

    i: Int[Array, " pieces"]
    j: Int[Array, " pieces"]
    mass: Float[Array, " pieces"]
    f: Float[Array, " n"]
    g: Float[Array, " m"]
    value: Float[Array, ""]

    def plan(self) -> Float[Array, "n m"]:
        """Materialise the coupling, shape (n, m); pieces of mass zero leave no trace."""
        table = jnp.zeros((len(self.f), len(self.g)), self.mass.dtype)
        return table.at[self.i, self.j].add(self.mass)


def transport_on_line(x, y, *, p=2.0, a=None, b=None) -> LineResult:
    """Minimise <P, C> over couplings P of a and b, with C_ij = |x_i - y_j|^p and p >= 1.

    For a cost convex in x - y the best plan never crosses: walk through both clouds from left
    to right and hand over mass as it comes (the north-west corner rule). This is what
    `sinkhorn` tends to as epsilon falls to zero, at O((n + m) log(n + m)) time and O(n + m)
    memory, and what it is tested against.

    Args:
        x, y: points on a line, shapes (n,) and (m,), or (n, 1) and (m, 1).
        p: power of the distance, at least 1; 2 is "sqeuclidean".
        a, b: weights, >= 0, summing to one; equal when None.

    Raises:
        ValueError: for clouds in more than one dimension, NaN, empty clouds, bad weights, p < 1.

    Works under `jit`, `vmap` and `grad`; p may be traced.

    Source: Peyre and Cuturi (2019), section 2.6 (1-D), and algorithm 3.1 (north-west corner).
    """
    x, y = (v[:, None] if v.ndim == 1 else v for v in map(jnp.asarray, (x, y)))
    x, y = clouds(x, y, "transport_on_line")
    if x.shape[1] != 1:
        raise ValueError(f"transport_on_line wants points on a line, (n,) or (n, 1); got "
                         f"{x.shape}. For d = {x.shape[1]} use sinkhorn, or project first.")
    if known(p) and not p >= 1:
        raise ValueError(f"transport_on_line wants p >= 1, where |x - y|^p is convex; got {p!r}.")
    a = simplex("a", a, len(x), x.dtype, "transport_on_line")
    b = simplex("b", b, len(y), x.dtype, "transport_on_line")
    return _walk(x[:, 0], y[:, 0], a, b, jnp.asarray(p, x.dtype))


@jax.jit
def _walk(x, y, a, b, p):
    n, m = len(x), len(y)
    order_x, order_y = jnp.argsort(x), jnp.argsort(y)
    ends = jnp.concatenate([jnp.cumsum(a[order_x])[:-1], jnp.cumsum(b[order_y])[:-1]])
    steps = jnp.argsort(ends)  # which cloud runs out next: x below n - 1, then y
    ends = jnp.clip(ends[steps], 0, 1)
    of_x = steps < n - 1
    zero, one = jnp.zeros(1, x.dtype), jnp.ones(1, x.dtype)
    mass = jnp.diff(jnp.concatenate([zero, ends, one]))
    i = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(of_x, dtype=jnp.int32)])
    j = jnp.arange(n + m - 1, dtype=jnp.int32) - i
    C = _power(x[order_x][i] - y[order_y][j], p)
    climb = jnp.diff(C)  # f rises where the walk moves on in x, g where it moves on in y
    f = jnp.zeros(n, x.dtype).at[i[1:]].add(jnp.where(of_x, climb, 0))
    g = jnp.zeros(m, x.dtype).at[j[1:]].add(jnp.where(of_x, 0, climb))
    f, g = C[0] + jnp.cumsum(f), jnp.cumsum(g)
    back_x, back_y = jnp.argsort(order_x), jnp.argsort(order_y)
    return LineResult(order_x[i], order_y[j], mass, f[back_x], g[back_y], jnp.sum(mass * C))


def _power(gap, p):
    """|gap|^p, with derivative zero at zero also for p < 2."""
    size = jnp.abs(gap)
    return jnp.where(size > 0, jnp.where(size > 0, size, 1) ** p, 0)
