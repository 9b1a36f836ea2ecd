"""Sinkhorn whose potentials have derivatives: implicit ones, or unrolled for comparison."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp

from otlab.core.costs import resolve_cost
from otlab.core.inputs import clouds, simplex
from otlab.couplings.entropic_ot.engine.conjugate_gradients import STEPS, default_tol, normal_solve
from otlab.couplings.entropic_ot.sinkhorn import SinkhornResult, sinkhorn
from otlab.couplings.implicit_differentiation import adjoint


def custom_root(F, solve=normal_solve):
    """Give any solver of F(z, theta) = 0 the derivatives of its exact solution.

    Args:
        F: optimality conditions (z, theta) -> array or pytree like z.
        solve: (matvec, rhs) -> u with matvec(u) = rhs.

    Returns:
        A decorator for solver(start, theta) -> z. Differentiable in theta, in reverse mode;
        the derivative with respect to the start is zero.

    The solver may be anything, and is never looked into: at its answer, -dF/dz dz = dF/dtheta
    dtheta, so a cotangent z_bar becomes u with A^T u = z_bar, A = -dF/dz, and then
    (dF/dtheta)^T u.

    Source: Blondel et al., arXiv 2105.15183, section 2.
    """

    def decorate(solver):
        @jax.custom_vjp
        def root(start, theta):
            return solver(start, theta)

        def forward(start, theta):
            z = solver(start, theta)
            return z, (start, z, theta)

        def backward(kept, z_bar):
            start, z, theta = kept
            _, pull_z = jax.vjp(lambda z: F(z, theta), z)
            u = solve(lambda u: jax.tree.map(jnp.negative, pull_z(u)[0]), z_bar)
            _, pull_theta = jax.vjp(lambda theta: F(z, theta), theta)
            return jax.tree.map(jnp.zeros_like, start), pull_theta(u)[0]

        root.defvjp(forward, backward)
        return root

    return decorate


def implicit_sinkhorn(
    x, y, *, epsilon, a=None, b=None, cost="sqeuclidean", tol=1e-4, max_steps=2_000, init=None,
    block=None, method="auto", adjoint_tol=None, adjoint_steps=STEPS,
) -> SinkhornResult:  # fmt: skip
    """`sinkhorn`, whose potentials and all that is made of them have derivatives.

    Differentiate .plan(), .transport_cost(), .sharpness(), .potential(x_new) or f and g
    themselves in x, y, a, b and epsilon: in forward mode, in reverse mode, twice (grad of
    grad, hessian), under jit and vmap. Memory does not grow with the sweeps; with `block`
    no (n, m) array exists in the backward pass either.

    Args:
        adjoint_tol: relative residual of the linear system; None for 6e-6 in float32 and
            2e-12 in float64.
        adjoint_steps: cap on its conjugate-gradient steps.
        Everything else as in `sinkhorn`; tol is smaller, since the gradient of a plan feels
        it several times more than the value does.

    Potentials are defined up to a constant: a derivative of f and g themselves is that in the
    gauge <a, f> = <b, g>. Weights keep their sum. .dual_value() has the right gradient and a
    wrong Hessian, since it holds f and g fixed; `entropic_value` has both right.

    Raises:
        ValueError: as `sinkhorn`, and for adjoint_tol outside of (0, 1).

    Source: Blondel et al., arXiv 2105.15183; Cuturi et al., arXiv 2002.03229.
    """
    x, y = clouds(x, y, "sinkhorn")
    a = simplex("a", a, len(x), x.dtype, "sinkhorn")
    b = simplex("b", b, len(y), x.dtype, "sinkhorn")
    if adjoint_tol is None:
        adjoint_tol = default_tol(x.dtype)
    if not 0 < adjoint_tol < 1:
        raise ValueError(
            "implicit_sinkhorn wants adjoint_tol in (0, 1), a relative residual, or None; "
            f"got {adjoint_tol}."
        )
    fixed = lax.stop_gradient((x, y, a, b, jnp.asarray(epsilon)))
    result = sinkhorn(
        *fixed[:2], a=fixed[2], b=fixed[3], epsilon=fixed[4], cost=cost, tol=tol,
        max_steps=max_steps, init=init, block=block, method=method,
    )  # fmt: skip
    epsilon = jnp.asarray(epsilon).astype(x.dtype)
    f, g = adjoint.attach(
        x, y, a, b, result.f, result.g, epsilon=epsilon, cost=cost, block=result.block,
        tol=adjoint_tol, max_steps=adjoint_steps,
    )  # fmt: skip
    return eqx.tree_at(
        lambda r: (r.x, r.y, r.a, r.b, r.f, r.g, r.epsilon), result, (x, y, a, b, f, g, epsilon)
    )


def entropic_value(result: SinkhornResult):
    """min <P, C> + epsilon KL(P | a b^T) of an `implicit_sinkhorn`, with all its derivatives.

    The gradient is the envelope's, and free, as that of .dual_value(). But where dual_value
    holds f and g fixed for good, here they move when the gradient is differentiated: the
    Hessian is right, for one linear system a direction.

    Source: Danskin's theorem, then Blondel et al., arXiv 2105.15183, section 2.
    """
    r = result
    return _value(r.x, r.y, r.a, r.b, r.f, r.g, r.epsilon, r.cost, r.block)


@partial(jax.custom_jvp, nondiff_argnums=(7, 8))
def _value(x, y, a, b, f, g, epsilon, cost, block):
    times, _ = adjoint.kernel(x, y, f, g, epsilon, cost, block)
    return a @ f + b @ g - epsilon * (a @ times(b) - 1)


@_value.defjvp
def _value_jvp(cost, block, primals, tangents):
    x, y, a, b, f, g, epsilon = primals
    dx, dy, da, db, _, _, depsilon = tangents  # at a maximum the moves of f and g do not count

    def held(x, y, a, b, epsilon):
        times, _ = adjoint.kernel(x, y, f, g, epsilon, cost, block)
        return a @ f + b @ g - epsilon * (a @ times(b) - 1)

    slope = jax.jvp(held, (x, y, a, b, epsilon), (dx, dy, da, db, depsilon))[1]
    return _value(x, y, a, b, f, g, epsilon, cost, block), slope


@partial(jax.jit, static_argnames=("steps", "cost", "segment"))
def unrolled_sinkhorn(
    x, y, *, epsilon, steps, a=None, b=None, cost="sqeuclidean", segment=None
):  # fmt: skip
    """Potentials (f, g) after a fixed number of sweeps, to be differentiated step by step.

    The baseline: its gradient is that of the iterate, and its memory grows with `steps`.

    Args:
        x, y, epsilon, a, b, cost: as `sinkhorn`, from g = 0.
        steps: sweeps K, a fixed number.
        segment: None leaves the memory to jax, which keeps (n, m) tables of every sweep; l
            keeps f and g every l sweeps and recomputes what lies between, O((K/l + l)(n + m)).

    Source: Griewank and Walther (2008), chapter 12, for segments.
    """
    if steps < 1 or (segment is not None and segment < 1):
        raise ValueError(
            "unrolled_sinkhorn wants whole numbers steps and segment from 1; got "
            f"steps={steps}, segment={segment}. Leave segment=None to keep everything."
        )
    x, y = clouds(x, y, "sinkhorn")
    a = simplex("a", a, len(x), x.dtype, "sinkhorn")
    b = simplex("b", b, len(y), x.dtype, "sinkhorn")
    C = resolve_cost(cost)(x, y)

    def sweep(potentials, _):
        _, g = potentials
        f = -epsilon * logsumexp((g - C) / epsilon, b=b, axis=1)
        g = -epsilon * logsumexp((f[:, None] - C) / epsilon, b=a[:, None], axis=0)
        return (f, g), None

    def run(potentials, length, body):
        return lax.scan(body, potentials, length=length)[0]

    start = jnp.zeros_like(a), jnp.zeros_like(b)
    if segment is None:
        return run(start, steps, sweep)
    light = jax.checkpoint(sweep)
    stretch = jax.checkpoint(lambda potentials, _: (run(potentials, segment, light), None))
    return run(run(start, steps // segment, stretch), steps % segment, light)
