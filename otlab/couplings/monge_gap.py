"""The Monge gap: what a map spends beyond what the same displacement of mass need cost."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Float

from otlab.core.costs import paired_cost
from otlab.couplings.entropic_ot.sinkhorn import SinkhornResult, sinkhorn


class MongeGap(eqx.Module):
    """The gap of a map T on weighted points x_i, all in units of the cost.

    spent: sum_i a_i c(x_i, T x_i).
    needed: W_eps = min <P, C> - eps H(P), the entropic cost between x and T x.
    offset: eps H(a), eps log n for equal weights; no map has a smaller value.
    result: the solver's potentials, its status, steps and error.
    """

    spent: Float[Array, ""]
    needed: Float[Array, ""]
    offset: Float[Array, ""]
    result: SinkhornResult

    @property
    def value(self) -> Float[Array, ""]:
        """spent - needed, the published estimator; at least `offset`, whatever T."""
        return self.spent - self.needed

    @property
    def excess(self) -> Float[Array, ""]:
        """value - offset: at least zero, and what tells one map from another."""
        return self.value - self.offset

    def require_converged(self) -> "MongeGap":
        """Return self, or raise RuntimeError saying what to change."""
        self.result.require_converged()
        return self


def monge_gap(x, Tx, *, epsilon, a=None, cost="sqeuclidean", tol=1e-3, max_steps=2_000, init=None,
              block=None) -> MongeGap:
    r"""sum_i a_i c(x_i, T x_i) - W_eps(sum_i a_i delta_{x_i}, sum_i a_i delta_{T x_i}).

    W_eps = min <P, C> - eps H(P). The solver's dual value D is min <P, C> + eps KL(P | a a^T),
    and KL(P | a a^T) = 2 H(a) - H(P) on couplings, hence W_eps = D - 2 eps H(a) exactly. The
    pairing diag(a) is a coupling of entropy H(a); so W_eps <= spent - eps H(a), and the value
    is at least eps H(a) for every T. `excess` subtracts that.

    Differentiable in x, T x, a and epsilon with the potentials held fixed (Danskin): the
    gradient in T x is a_i grad c(x_i, T x_i) - sum_k P_ki grad c(x_k, T x_i). Its bias is
    that of P, so keep tol small.

    Args:
        x: reference points, shape (n, d).
        Tx: their images, row by row, shape (n, d).
        epsilon: entropy strength in units of the cost, fixed from the data before training
            (say 1 % of mean_cost(x, y, cost=cost)): relative to T it would reward expensive
            maps.
        a: weights of the reference points, shape (n,); equal when None.
        cost: as in `sinkhorn`: a name, or a function such as `distances` or `great_circle`.
        tol, max_steps, init, block: as in `sinkhorn`.

    Raises:
        ValueError: for x and Tx of different shapes, and for what `sinkhorn` refuses.

    Source: Uscidda and Cuturi (2023), arXiv 2302.04953, equations 7 and 8.
    """
    if jnp.shape(x) != jnp.shape(Tx):
        raise ValueError(f"monge_gap wants one image a point: x and Tx of one shape (n, d); got "
                         f"{jnp.shape(x)} and {jnp.shape(Tx)}. For a map T of one point: "
                         "Tx = jax.vmap(T)(x).")
    r = sinkhorn(x, Tx, epsilon=epsilon, a=a, b=a, cost=cost, tol=tol, max_steps=max_steps,
                 init=init, block=block)
    return MongeGap(*_sums(r), r)


@jax.jit
def _sums(r):
    """spent, needed and offset of a solved problem whose targets are the images."""
    spent = jnp.sum(r.a * paired_cost(r.x, r.y, cost=r.cost))
    offset = r.epsilon * jnp.sum(entr(r.a))
    return spent, r.dual_value() - 2 * offset, offset


def conservativity(key, F, x) -> Float[Array, ""]:
    """Mean over x of |J v - J^T v|^2, v ~ N(0, I): zero for the gradient of a potential.

    Its mean over v is |J - J^T|^2 (Frobenius), from one Jacobian-vector and one
    vector-Jacobian product a point; J is never formed.

    Args:
        key: PRNG key of the directions v.
        F: vector field of one point, (d,) to (d,).
        x: where to test it, shape (n, d).

    Raises:
        ValueError: when F changes the dimension.

    Source: Uscidda and Cuturi (2023), arXiv 2302.04953, equation 15.
    """
    out = jax.eval_shape(F, jax.ShapeDtypeStruct(x.shape[1:], x.dtype)).shape
    if out != x.shape[1:]:
        raise ValueError(f"conservativity wants a vector field, one dimension in and out; F maps "
                         f"{x.shape[1:]} to {out}.")

    def curl(x, v):
        pull = jax.vjp(F, x)[1]
        return jnp.sum((jax.jvp(F, (x,), (v,))[1] - pull(v)[0]) ** 2)

    return jnp.mean(jax.vmap(curl)(x, jax.random.normal(key, x.shape, x.dtype)))


def unexplained_variance(Tx, truth) -> Float[Array, ""]:
    """100 mean |T x_i - T* x_i|^2 / Var(T* x), in percent: 100 is the best constant map.

    Source: the L2-UVP of Korotin et al. (2021), arXiv 2106.01954.
    """
    if jnp.shape(Tx) != jnp.shape(truth):
        raise ValueError(f"unexplained_variance compares row by row; got {jnp.shape(Tx)} and "
                         f"{jnp.shape(truth)}.")
    spread = jnp.sum(jnp.var(truth, axis=0))
    return 100 * jnp.mean(jnp.sum((Tx - truth) ** 2, axis=1)) / spread
