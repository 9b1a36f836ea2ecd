"""Transport problems whose exact Monge map is known, to measure reconstruction against."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.inputs import positive_int


class BrenierTask(eqx.Module):
    r"""Gaussian source pushed by T0 = grad u, a piecewise-affine Brenier map.

    .. math:: u(x) = \max_{i \le k} \tfrac12|x|^2 + \tfrac12|A_i (x - m_i)|^2 - |A_i m_i|^2

    u is a maximum of convex quadratics, so by Brenier's theorem T0 is the optimal map from
    N(0, I) to its image for the quadratic cost. With i(x) the active piece,
    T0(x) = x + A_i^T A_i (x - m_i).

    A_i = G G^T / d with G of shape (d, d // 2), standard normal (Wishart of rank d/2, mean
    I/2); m_i ~ N(0, 3 I), moved so that their mean is zero. The scale of the Wishart is not
    in our source. With 1/d, at d = 8 and k = 4, the curvature of independent pairs is 7 to 13
    and that of exact pairs 0.1 to 1.6 over three tasks; dividing by d // 2 instead gives
    15 to 64 and 2.5 to 39.

    Args:
        d: dimension.
        k: number of pieces (d / 16 in the paper, 4 at d = 8 in the chapter).
        key: PRNG key of the pieces; one key is one task.

    Source: arXiv 2506.05526, section 4 (a) of the sheet.
    """

    A: Float[Array, "k d d"]
    m: Float[Array, "k d"]

    def __init__(self, d: int, k: int, key):
        d, k = positive_int("d", d), positive_int("k", k)
        self.A, self.m = _draw(key, k, d)

    def potential(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """u(x) of one point."""
        return self._pieces(x).max()

    def map(self, x: Array) -> Array:
        """T0(x) = grad u(x), for one point (d,) or many (n, d)."""
        d = self.m.shape[1]
        if jnp.ndim(x) not in (1, 2) or jnp.shape(x)[-1] != d:
            raise ValueError(f"map wants points of shape ({d},) or (n, {d}); got {jnp.shape(x)}.")
        return self._move_all(x)

    def source(self, key, n: int) -> Float[Array, "n d"]:
        """n points of N(0, I)."""
        return jax.random.normal(key, (positive_int("n", n), self.m.shape[1]), self.m.dtype)

    def target(self, key, n: int) -> Float[Array, "n d"]:
        """n points of the target distribution, images of n source points that are not returned."""
        return self.map(self.source(key, n))

    def pairs(self, key, n: int):
        """n source points and their exact partners, (x, T0(x)): the perfect coupling."""
        x = self.source(key, n)
        return x, self.map(x)

    @jax.jit
    def _move_all(self, x):
        return self._move(x) if x.ndim == 1 else jax.vmap(self._move)(x)

    def _pieces(self, x):
        stretched = jnp.einsum("kij,kj->ki", self.A, x - self.m, precision="highest")
        centres = jnp.einsum("kij,kj->ki", self.A, self.m, precision="highest")
        return (x @ x + (stretched**2).sum(1)) / 2 - (centres**2).sum(1)

    def _move(self, x):
        i = jnp.argmax(self._pieces(x))
        stretched = jnp.matmul(self.A[i], x - self.m[i], precision="highest")
        return x + jnp.matmul(self.A[i].T, stretched, precision="highest")


@partial(jax.jit, static_argnums=(1, 2))
def _draw(key, k, d):
    """Matrices (k, d, d) and centres (k, d) of the pieces."""
    key_A, key_m = jax.random.split(key)
    G = jax.random.normal(key_A, (k, d, max(1, d // 2)))
    m = jnp.sqrt(3.0) * jax.random.normal(key_m, (k, d))
    return jnp.einsum("kir,kjr->kij", G, G, precision="highest") / d, m - m.mean(0)
