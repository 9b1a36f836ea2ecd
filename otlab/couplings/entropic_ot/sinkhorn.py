"""Entropic optimal transport between two point clouds, in the log domain."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import logsumexp
from jaxtyping import Array, Float, Int

from otlab.core.blocks import over_rows
from otlab.core.costs import resolve_cost
from otlab.core.inputs import clouds
from otlab.core.status import REMEDY, Status
from otlab.couplings.entropic_ot.engine import inputs, sampling, sharpness
from otlab.couplings.entropic_ot.engine.host.shapes import of_any_size
from otlab.couplings.entropic_ot.engine.solve import Route, solved
from otlab.couplings.entropic_ot.engine.tables import outer, reducer


class SinkhornResult(eqx.Module):
    """Plan in dual form, P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon); no (n, m) array.

    f, g: potentials, in units of the cost; constants under differentiation (see dual_value).
    error: L1 gap of the row marginals, in units of mass (0 to 2); the columns are exact.
    steps: Sinkhorn iterations done.   status: a `Status`; require_converged() words it.
    floor: the gap that rounding alone can cause at this epsilon in this floating-point type.
    """

    f: Float[Array, " n"]
    g: Float[Array, " m"]
    error: Float[Array, ""]
    steps: Int[Array, ""]
    status: Int[Array, ""]
    epsilon: Float[Array, ""]
    floor: Float[Array, ""]
    x: Float[Array, "n d"]
    y: Float[Array, "m d"]
    a: Float[Array, " n"]
    b: Float[Array, " m"]
    cost: str | Callable = eqx.field(static=True)
    block: int | None = eqx.field(static=True)
    method: str = eqx.field(static=True)
    shards: int = eqx.field(static=True, default=1)  # devices that hold the rows of x

    @of_any_size("n", "m")
    @jax.jit
    def plan(self) -> Float[Array, "n m"]:
        """Materialise the coupling, shape (n, m); it sums to one."""
        C = resolve_cost(self.cost)(self.x, self.y)
        return self.a[:, None] * self.b * jnp.exp(self._exponents(C, self.f, self.a))

    @of_any_size()
    @jax.jit
    def transport_cost(self) -> Float[Array, ""]:
        """<P, C>, in units of the cost."""
        return jnp.sum(self._rows(lambda C, z: jnp.sum(self.b * jnp.exp(z) * C, axis=1)) * self.a)

    @of_any_size()
    @jax.jit
    def dual_value(self) -> Float[Array, ""]:
        """min <P, C> + epsilon KL(P | a b^T), from the potentials; differentiable.

        By the envelope theorem its gradient in x, y, a, b or epsilon treats f and g as
        constants: for x it is the plan applied to dC/dx, with no pass through the solver.
        Gradients in a and b hold up to an additive constant (weights keep their sum).

        Source: Peyre and Cuturi (2019), equation 4.30 and proposition 4.6.
        """
        fixed = eqx.tree_at(
            lambda r: (r.f, r.g), self, (lax.stop_gradient(self.f), lax.stop_gradient(self.g))
        )
        mass = jnp.sum(self.a * fixed._rows(lambda C, z: jnp.sum(self.b * jnp.exp(z), axis=1)))
        return self.a @ fixed.f + self.b @ fixed.g - self.epsilon * (mass - 1)

    def entropy(self) -> Float[Array, ""]:
        """H(P) = -sum P log P, in nats; between (H(a) + H(b)) / 2 and H(a) + H(b)."""
        return sharpness.entropy(self)

    def sharpness(self) -> Float[Array, ""]:
        """Renormalised entropy in [0, 1]: 0 a permutation, 1 the independent coupling."""
        return sharpness.sharpness(self)

    def sample_pairs(self, key, *, block: int | None = None) -> Int[Array, " n"]:
        """One partner j(i) in y for every point of x, drawn from its own row of the plan.

        Stratified: each source point appears once. `block` rows at a time, never the plan;
        the draw depends on `key` alone, not on `block`.
        """
        return sampling.sample_pairs(self, key, block=block)

    @jax.jit
    def potential(self, x_new: Float[Array, "k d"]) -> Float[Array, " k"]:
        """f at new source points: the soft c-transform of g, in units of the cost."""
        scaled = jnp.log(self.b) + self.g / self.epsilon
        return self._transform(x_new, self.y, scaled, 1)

    @jax.jit
    def target_potential(self, y_new: Float[Array, "k d"]) -> Float[Array, " k"]:
        """g at new target points: the soft c-transform of f, in units of the cost."""
        scaled = jnp.log(self.a) + self.f / self.epsilon
        return self._transform(self.x, y_new, scaled, 0)

    def require_converged(self) -> "SinkhornResult":
        """Return self, or raise RuntimeError saying what to change."""
        codes = np.atleast_1d(np.asarray(self.status))
        if (codes == Status.CONVERGED).all():
            return self
        k = int(np.flatnonzero(codes != Status.CONVERGED)[0])
        steps, error, epsilon, floor = (
            np.atleast_1d(np.asarray(v))[k]
            for v in (self.steps, self.error, self.epsilon, self.floor)
        )
        which = f" in problem {k} of {codes.size}" if codes.size > 1 else ""
        raise RuntimeError(
            f"sinkhorn {REMEDY[Status(int(codes[k]))]} "
            f"(steps={int(steps)}, error={error:.1e}, epsilon={epsilon:.3g}, "
            f"rounding floor={floor:.1e}{which})"
        )

    def _rows(self, fn):
        """fn(C, z) for blocks of rows, z = (f + g - C) / epsilon, shape (rows, m)."""
        cost = resolve_cost(self.cost)

        @jax.checkpoint  # a gradient recomputes each block instead of storing all of them
        def rows(x, f, a):
            C = cost(x, self.y)
            return fn(C, self._exponents(C, f, a))

        return over_rows(rows, self.block, self.x, self.f, self.a, shards=self.shards)

    def _exponents(self, C, f, a):
        """(f + g - C) / epsilon, and 0 for pairs without mass, where it may be huge."""
        alive = (a > 0)[:, None] & (self.b > 0)
        return jnp.where(alive, (outer(f, self.g, 1) - C) / self.epsilon, 0)

    def _transform(self, x, y, scaled, axis):
        def transform(C, kept):
            return logsumexp(outer(kept, scaled, axis) - C / self.epsilon, axis=axis)

        reduce = reducer(x, y, self.cost, self.block)
        return -self.epsilon * reduce(transform, jnp.zeros(len(x if axis else y), x.dtype), axis)


def sinkhorn(
    x,
    y,
    *,
    epsilon,
    a=None,
    b=None,
    cost="sqeuclidean",
    tol=1e-3,
    max_steps=2_000,
    init=None,
    block=None,
    method="auto",
) -> SinkhornResult:
    r"""Minimise <P, C> + epsilon KL(P | a b^T) over couplings P of a and b.

    Args:
        x: source points, shape (n, d).
        y: target points, shape (m, d).
        epsilon: entropy strength, in units of C. No default: it sets the answer. Scale-free:
            relative_epsilon(x, y, 0.1, cost=cost).
        a, b: weights, shapes (n,) and (m,), >= 0, summing to one; equal when None. Zeros are
            allowed: such points get a potential but no mass.
        cost: "sqeuclidean" |x - y|^2, "dot" -<x, y> (the same plan at half the epsilon), or a
            function (x, y) -> C (n, m). Name the function: each new lambda compiles again.
        tol: stop when the L1 row-marginal gap is below this (0 to 2, units of mass).
        max_steps: cap on Sinkhorn iterations, of (f, g).
        init: where to start: an earlier result, a pair (f, g), or g alone; see warm_start.
        block: rows of C held at a time; no (n, m) array ever exists then. None lets `method`
            decide.
        method: "auto", or one of
            "kernel" stores one (n, m) array and iterates by matrix-vector products;
            "stream" recomputes C in blocks and stores O(n + m);
            "plain" is the textbook iteration from zero, not accelerated, whose steps count.
            "auto" takes "stream" when block is given or the array would pass 2 GiB, else
            "kernel". The answer is the same to tol; .method says what ran.

    Returns:
        SinkhornResult. It does not raise when the steps end early: call
        .require_converged(), or read .status.

    Raises:
        ValueError: wrong shapes, empty clouds, NaN, bad weights, epsilon <= 0, and so on.

    Another epsilon, tol, max_steps, weights or start compiles nothing; on one CPU and outside of
    `jit`, neither does another n, m or d near by, for the costs of `otlab.core.costs`.
    There the solver runs on NumPy arrays: the first answer comes in tenths of a second, but below
    1,000 points each later one takes two to three times as long as a compiled one. For hundreds of
    small problems of one size, `jax.jit` a function that calls it, or `jax.vmap` that.
    Differentiate .dual_value(); a gradient through f or g raises.

    Source: Cuturi (2013), Algorithm 1, in log form, with Anderson acceleration.
    """
    x, y = clouds(x, y, "sinkhorn")
    a = inputs.weights("a", a, x)
    b = inputs.weights("b", b, y)
    inputs.check_cost(cost, x, y)
    epsilon, tol, max_steps = inputs.settings(epsilon, tol, max_steps, block, x.dtype)
    g = inputs.start(init, y)
    shards = inputs.row_shards(x)
    method, block = inputs.route(method, block, len(x) // shards, len(y))
    how = Route(cost, block, method, init is not None, shards)
    f, g, error, steps, status, floor = solved(x, y, a, b, g, epsilon, tol, max_steps, how)
    a, b, epsilon = jax.device_put((a, b, epsilon))  # NumPy's so far, where all is known
    return SinkhornResult(
        f, g, error, steps, status, epsilon, floor, x, y, a, b, cost, block, method, shards)


def warm_start(result: SinkhornResult, x_new, y_new):
    """Potentials (f, g) at a new batch, to pass as `init=`; shapes (n,) and (m,).

    Soft c-transforms of the old ones: sensible wherever the new clouds come from the same
    distributions, and exact up to rounding for the old clouds themselves.

    Source: arXiv 2506.05526 (warm starts across batches).
    """
    x_new, y_new = clouds(x_new, y_new, "sinkhorn")
    return result.potential(x_new), result.target_potential(y_new)
