"""Implicit derivatives against the dense system, finite differences, unrolling and OTT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.core.status import Status
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn
from otlab.couplings.implicit_differentiation.adjoint import (
    adjoint,
    attach,
    potentials_vjp,
    system,
    tangent,
)
from otlab.couplings.implicit_differentiation.implicit import (
    custom_root,
    entropic_value,
    implicit_sinkhorn,
    unrolled_sinkhorn,
)

N, M, D = 9, 7, 2
TIGHT = dict(tol=1e-12, max_steps=20_000)


def problem(seed=0):
    """x, y, logits of a and b, epsilon, and a cotangent w of the plan; float64."""
    rng = np.random.default_rng(seed)
    x, y, w = rng.normal(size=(N, D)), rng.normal(size=(M, D)), rng.normal(size=(N, M))
    arrays = [jnp.asarray(v, jnp.float64) for v in (x, y, rng.normal(size=N), rng.normal(size=M))]
    return (*arrays, jnp.asarray(0.3)), jnp.asarray(w, jnp.float64)


def loss(x, y, u, v, epsilon, w, cost="sqeuclidean", block=None):
    a, b = jax.nn.softmax(u), jax.nn.softmax(v)
    r = implicit_sinkhorn(x, y, a=a, b=b, epsilon=epsilon, cost=cost, block=block, **TIGHT)
    return jnp.sum(w * r.plan())


EVERY = (0, 1, 2, 3, 4)
value = jax.jit(loss, static_argnums=(6, 7))
gradient = jax.jit(jax.grad(loss, argnums=EVERY), static_argnums=(6, 7))


def differences(fn, args, k, h=1e-5):
    """Central differences of fn(*args) in its k-th argument."""
    flat = np.ravel(args[k]).astype(float)

    def at(i, step):
        moved = flat.copy()
        moved[i] += step
        return fn(*args[:k], jnp.asarray(moved.reshape(np.shape(args[k]))), *args[k + 1 :])

    slopes = [(at(i, h) - at(i, -h)) / (2 * h) for i in range(flat.size)]
    return np.reshape(slopes, np.shape(args[k]) + np.shape(slopes[0]))


# ---------------------------------------------------------------- oracle


@pytest.mark.parametrize("n, m", [(N, M), (M, N)])
def test_oracle_the_adjoint_is_the_transpose_of_the_tangent(float64, n, m):
    """<f_bar, df> + <g_bar, dg> = <p, u> + <q, v>, also where a constant moves from f to g."""
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, D)), rng.normal(size=(m, D))
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    r = sinkhorn(x, y, a=a, b=b, epsilon=1.0, **TIGHT)
    sys = system(r.x, r.y, r.a, r.b, r.f, r.g, 1.0, "sqeuclidean", None)
    q = jnp.asarray(rng.normal(size=m))
    p = jnp.asarray(rng.normal(size=n))
    p = p - (r.a @ p - r.b @ q)                        # else there is no solution
    f_bar, g_bar = jnp.asarray(rng.normal(size=n) + 1), jnp.asarray(rng.normal(size=m) - 1)
    how = dict(tol=1e-13, max_steps=500)
    df, dg, _ = tangent(sys, p, q, **how)
    u, v, _ = adjoint(sys, f_bar, g_bar, **how)
    np.testing.assert_allclose(f_bar @ df + g_bar @ dg, p @ u + q @ v, rtol=1e-9)


@pytest.mark.parametrize("cost, block", [("sqeuclidean", None), ("dot", 4)])
def test_oracle_finite_differences_in_every_input(float64, cost, block):
    args, w = problem()
    got = gradient(*args, w, cost, block)
    for k in EVERY:
        want = differences(lambda *p: value(*p, w, cost, block), args, k)
        np.testing.assert_allclose(got[k], want, atol=2e-9)


def test_oracle_the_dense_system_of_the_sheet(float64):
    """Equation 3.3 with P = exp((f + g - C) / epsilon): no a_i b_j in front."""
    (x, y, u, v, epsilon), w = problem(1)
    a, b = np.asarray(jax.nn.softmax(u)), np.asarray(jax.nn.softmax(v))
    r = sinkhorn(x, y, a=a, b=b, epsilon=epsilon, **TIGHT)
    P = np.asarray(r.plan())
    G = np.asarray(w) * P / 0.3
    H = np.block([[np.diag(a), P], [P.T, np.diag(b)]])
    u_v = np.linalg.pinv(H) @ np.concatenate([G.sum(1), G.sum(0)])
    C_bar = P * (u_v[:N, None] + u_v[N:]) - G
    gaps = np.asarray(x)[:, None] - np.asarray(y)
    got = gradient(x, y, u, v, epsilon, w)
    np.testing.assert_allclose(got[0], 2 * np.einsum("ij,ijk->ik", C_bar, gaps), atol=1e-11)
    np.testing.assert_allclose(got[1], -2 * np.einsum("ij,ijk->jk", C_bar, gaps), atol=1e-11)
    a_bar = 0.3 * u_v[:N]  # in that normalisation the weights enter on the right-hand side only
    np.testing.assert_allclose(got[2], a * (a_bar - a @ a_bar), atol=1e-11)


def test_oracle_a_long_unrolled_scan(float64):
    args, w = problem(2)

    def unrolled(x, y, u, v, epsilon):
        a, b = jax.nn.softmax(u), jax.nn.softmax(v)
        f, g = unrolled_sinkhorn(x, y, a=a, b=b, epsilon=epsilon, steps=400, segment=20)
        C = jnp.sum((x[:, None] - y) ** 2, axis=-1)
        return jnp.sum(w * a[:, None] * b * jnp.exp((f[:, None] + g - C) / epsilon))

    wanted = jax.jit(jax.grad(unrolled, EVERY))(*args)
    for got, want in zip(gradient(*args, w), wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-10)


def test_oracle_ott_differentiates_the_plan_alike(float64):
    pytest.importorskip("ott")
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn as theirs

    (x, y, u, v, epsilon), w = problem(3)
    a, b = jax.nn.softmax(u), jax.nn.softmax(v)

    def other(x):
        geometry = pointcloud.PointCloud(x, y, epsilon=0.3)
        problem = linear_problem.LinearProblem(geometry, a=a, b=b)
        solver = theirs.Sinkhorn(threshold=1e-12, max_iterations=20_000)
        return jnp.sum(w * solver(problem).matrix)

    with jax.numpy_dtype_promotion("standard"):
        want = jax.jit(jax.grad(other))(x)
    np.testing.assert_allclose(gradient(x, y, u, v, epsilon, w)[0], want, atol=1e-6)


def test_oracle_ott_and_differences_agree_on_the_envelope(float64):
    pytest.importorskip("ott")
    from ott.geometry import pointcloud
    from ott.solvers import linear

    (x, y, u, v, epsilon), _ = problem(10)
    a, b = jax.nn.softmax(u), jax.nn.softmax(v)
    total = jax.jit(lambda x: sinkhorn(x, y, a=a, b=b, epsilon=epsilon, **TIGHT).dual_value())

    def other(x):
        geometry = pointcloud.PointCloud(x, y, epsilon=0.3)
        return linear.solve(geometry, a=a, b=b, threshold=1e-12, max_iterations=20_000).reg_ot_cost

    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(jax.grad(other))(x)
    ours = jax.jit(jax.grad(total))(x)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_allclose(ours, differences(total, (x,), 0), atol=1e-8)


@pytest.mark.parametrize("block", [None, 4])
def test_oracle_potentials_vjp_is_what_reverse_mode_does(float64, block):
    (x, y, u, v, epsilon), w = problem(4)
    r = sinkhorn(x, y, a=jax.nn.softmax(u), b=jax.nn.softmax(v), epsilon=epsilon, **TIGHT)
    f_bar, g_bar = w[:, 0], w[0]  # it sees the constant; both must drop the same part of it
    got = potentials_vjp(
        x, y, r.a, r.b, r.f, r.g, f_bar, g_bar, epsilon=epsilon, block=block
    ).require_converged()

    def pulled(x, y, a, b, epsilon):
        f, g = attach(x, y, a, b, r.f, r.g, epsilon=epsilon, block=block)
        return f @ f_bar + g @ g_bar

    want = jax.jit(jax.grad(pulled, EVERY))(x, y, r.a, r.b, epsilon)
    mine = (got.x, got.y, got.a, got.b, got.epsilon)
    for one, other in zip(mine, want, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_invariant_exchanging_the_clouds_exchanges_the_gradients():
    r = solved_example()  # n > m; the other way round the other side is eliminated
    f_bar, g_bar = jnp.arange(1.0, N + 1), jnp.arange(2.0, M + 2)
    one = potentials_vjp(r.x, r.y, r.a, r.b, r.f, r.g, f_bar, g_bar, epsilon=0.5)
    two = potentials_vjp(r.y, r.x, r.b, r.a, r.g, r.f, g_bar, f_bar, epsilon=0.5)
    for here, there in (("x", "y"), ("y", "x"), ("a", "b"), ("b", "a"), ("epsilon", "epsilon")):
        want = getattr(one, here)
        assert jnp.abs(getattr(two, there) - want).max() < 1e-3 * jnp.abs(want).max()


# ---------------------------------------------------------------- gradient


def test_gradient_forward_and_reverse_agree(float64):
    args, w = problem(5)
    rng = np.random.default_rng(0)
    along = tuple(jnp.asarray(rng.normal(size=np.shape(v))) for v in args)
    _, slope = jax.jit(lambda p, t: jax.jvp(lambda *q: loss(*q, w), p, t))(args, along)
    back = gradient(*args, w)
    total = sum(jnp.vdot(p, q) for p, q in zip(back, along, strict=True))
    np.testing.assert_allclose(slope, total, rtol=1e-10)


def test_gradient_of_the_gradient_in_both_modes(float64):
    (x, *rest), w = problem(6)
    along = jnp.asarray(np.random.default_rng(6).normal(size=x.shape))
    slope = jax.jit(jax.grad(lambda x: loss(x, *rest, w)))
    want = (slope(x + 1e-5 * along) - slope(x - 1e-5 * along)) / 2e-5
    forward = jax.jit(lambda x: jax.jvp(slope, (x,), (along,))[1])(x)
    reverse = jax.jit(jax.grad(lambda x: jnp.vdot(slope(x), along)))(x)
    np.testing.assert_allclose(forward, want, atol=1e-7)
    np.testing.assert_allclose(reverse, forward, atol=1e-10)


def test_gradient_of_the_value_meets_the_envelope_and_its_curvature_does_not(float64):
    (x, y, _, _, epsilon), _ = problem(7)
    along = jnp.asarray(np.random.default_rng(7).normal(size=x.shape))

    def bend(total):
        slope = jax.grad(lambda x: total(implicit_sinkhorn(x, y, epsilon=epsilon, **TIGHT)))
        return jax.jit(lambda x: jax.jvp(slope, (x,), (along,)))

    right, frozen = bend(entropic_value), bend(lambda r: r.dual_value())
    np.testing.assert_allclose(right(x)[0], frozen(x)[0], atol=1e-10)
    want = (frozen(x + 1e-5 * along)[0] - frozen(x - 1e-5 * along)[0]) / 2e-5
    np.testing.assert_allclose(right(x)[1], want, atol=1e-7)
    assert np.abs(frozen(x)[1] - want).max() > 0.1 * np.abs(want).max()


def test_gradient_of_one_solve_in_a_batch(float64):
    args, w = problem(8)
    many = jnp.asarray([0.2, 0.3])
    got = jax.vmap(lambda e: gradient(*args[:4], e, w)[0])(many)
    np.testing.assert_allclose(got[1], gradient(*args, w)[0], atol=1e-11)


# ---------------------------------------------------------------- invariant


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.3, 3.0]))
def test_invariant_translations_constants_and_masses(seed, epsilon):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s) for s in ((N, D), (M, D), N, M)]
    a, b = rng.dirichlet(np.ones(N)), rng.dirichlet(np.ones(M))
    x, y, f_bar, g_bar, a, b = (jnp.asarray(v, jnp.float32) for v in (*arrays, a, b))
    r = sinkhorn(x, y, a=a, b=b, epsilon=epsilon, tol=1e-4, max_steps=20_000)
    got = potentials_vjp(x, y, r.a, r.b, r.f, r.g, f_bar, g_bar, epsilon=epsilon)
    size = 1 + jnp.abs(got.x).sum()
    assert jnp.abs(got.x.sum(0) + got.y.sum(0)).max() < 1e-4 * size
    assert abs(r.a @ got.a) < 1e-4 * (1 + jnp.abs(got.a).max())
    c = jnp.float32(2.0)  # adding a constant to L(f + c, g - c) changes no gradient
    moved = potentials_vjp(x, y, r.a, r.b, r.f + c, r.g - c, f_bar, g_bar, epsilon=epsilon)
    assert jnp.abs(moved.x - got.x).max() < 1e-3 * size


def test_invariant_points_without_mass_change_nothing(float64):
    (x, y, u, v, epsilon), w = problem(9)
    u, v = u.at[2].set(-jnp.inf), v.at[:2].set(-jnp.inf)  # weights of exactly zero
    near, far = (gradient(x.at[2].set(p), y, u, v, epsilon, w) for p in (0.5, 3.0))
    for one, other in zip(near, far, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)
    assert (near[0][2] == 0).all() and (near[1][:2] == 0).all()


def test_invariant_a_point_without_mass_still_has_a_potential(float64):
    (x, y, u, v, epsilon), _ = problem(9)
    weights = dict(a=jax.nn.softmax(u.at[2].set(-jnp.inf)), b=jax.nn.softmax(v))
    solve = jax.jit(lambda x: sinkhorn(x, y, epsilon=epsilon, **weights, **TIGHT))
    r = solve(x)
    one, mean = jnp.zeros(N).at[2].set(1.0), jnp.full(M, 1 / M)
    got = potentials_vjp(x, y, r.a, r.b, r.f, r.g, one, mean, epsilon=epsilon)

    def total(p):
        moved = solve(x.at[2].set(p))
        return moved.f[2] + moved.g.mean()

    np.testing.assert_allclose(got.x[2], differences(total, (x[2],), 0), atol=1e-7)


def test_invariant_streaming_never_holds_a_table():
    x = jax.random.normal(jax.random.key(0), (512, 2))
    r = sinkhorn(x, x + 1, epsilon=0.5, max_steps=50, block=32)
    args = (r.x, r.y, r.a, r.b, r.f, r.g, r.f, r.g)
    whole = 4 * 512 * 512
    used = {}
    for block in (None, 32):
        compiled = potentials_vjp.lower(*args, epsilon=0.5, block=block).compile()
        used[block] = compiled.memory_analysis().temp_size_in_bytes
    assert used[None] > whole > 2 * used[32]


def test_invariant_segments_save_memory_and_change_nothing():
    x = jax.random.normal(jax.random.key(0), (64, 2))

    def pull(segment):
        def total(x):
            f, g = unrolled_sinkhorn(x, x + 1, epsilon=0.5, steps=23, segment=segment)
            return jnp.vdot(f, f) + jnp.vdot(g, g)

        return jax.jit(jax.grad(total)).lower(x).compile()

    plain, light = pull(None), pull(5)
    np.testing.assert_allclose(plain(x), light(x), rtol=2e-3, atol=1e-5)
    sizes = [c.memory_analysis().temp_size_in_bytes for c in (plain, light)]
    assert sizes[0] > 3 * sizes[1]


# ---------------------------------------------------------------- custom_root


def test_oracle_ridge_regression_in_its_penalty(float64):
    rng = np.random.default_rng(0)
    A, t = jnp.asarray(rng.normal(size=(20, 5))), jnp.asarray(rng.normal(size=20))

    def stationarity(z, penalty):
        return A.T @ (A @ z - t) + penalty * z

    @custom_root(stationarity)
    def ridge(start, penalty):
        return jnp.linalg.solve(A.T @ A + penalty * jnp.eye(5), A.T @ t)

    got = jax.jit(jax.jacrev(ridge, argnums=1))(jnp.zeros(5), 0.7)
    inverse = jnp.linalg.inv(A.T @ A + 0.7 * jnp.eye(5))
    np.testing.assert_allclose(got, -inverse @ inverse @ A.T @ t, atol=1e-10)


def test_oracle_roots_without_symmetry_and_in_pytrees(float64):
    def F(z, theta):
        return {"p": z["p"] - jnp.tanh(theta @ z["q"]) - 1, "q": 2 * z["q"] + z["p"] - theta[0]}

    def iterate(start, theta):
        def step(_, z):
            return {"p": jnp.tanh(theta @ z["q"]) + 1, "q": (theta[0] - z["p"]) / 2}

        return jax.lax.fori_loop(0, 200, step, start)

    theta = 0.3 * jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    start = {"p": jnp.zeros(3), "q": jnp.zeros(3)}
    root = custom_root(F)(iterate)

    @jax.jit
    def total(theta):
        z = root(start, theta)
        return jnp.sum(z["p"] * jnp.arange(3.0)) + jnp.sum(z["q"] ** 2)

    got = jax.jit(jax.grad(total))(theta)
    np.testing.assert_allclose(got, differences(total, (theta,), 0), atol=1e-8)


# ---------------------------------------------------------------- failure


def solved_example():
    x = jax.random.normal(jax.random.key(0), (N, D))
    y = jax.random.normal(jax.random.key(1), (M, D))
    return sinkhorn(x, y, epsilon=0.5)


def test_failure_too_few_steps_is_a_sentence():
    r = solved_example()
    args = (r.x, r.y, r.a, r.b, r.f, r.g)
    short = potentials_vjp(*args, r.f, r.g, epsilon=0.5, max_steps=1)
    assert short.status == Status.MAX_STEPS
    with pytest.raises(RuntimeError, match="adjoint of sinkhorn stopped at max_steps"):
        short.require_converged()
    broken = potentials_vjp(*args, r.f * jnp.nan, r.g, epsilon=0.5)
    assert broken.status == Status.NONFINITE
    exact = potentials_vjp(*args, r.f, r.g, epsilon=0.5, tol=1e-12)  # float32 cannot
    assert exact.status == Status.PRECISION and exact.error < 1e-4
    nothing = potentials_vjp(*args, 0 * r.f, 0 * r.g, epsilon=0.5).require_converged()
    assert nothing.steps == 0 and (nothing.x == 0).all()


def test_failure_of_shapes_and_settings_names_the_way_out():
    r = solved_example()
    with pytest.raises(ValueError, match=r"f_bar of shape \(9,\)"):
        potentials_vjp(r.x, r.y, r.a, r.b, r.f, r.g, r.g, r.g, epsilon=0.5)
    with pytest.raises(ValueError, match="adjoint_tol in"):
        implicit_sinkhorn(r.x, r.y, epsilon=0.5, adjoint_tol=2.0)
    with pytest.raises(ValueError, match="finite epsilon > 0"):
        implicit_sinkhorn(r.x, r.y, epsilon=-1.0)
    with pytest.raises(ValueError, match=r"x \(n, d\) and y \(m, d\)"):
        implicit_sinkhorn(r.x, r.y[:, :1], epsilon=0.5)
    with pytest.raises(ValueError, match="finite points"):
        implicit_sinkhorn(r.x * jnp.nan, r.y, epsilon=0.5)
    with pytest.raises(ValueError, match="weights that sum to 1"):
        implicit_sinkhorn(r.x, r.y, a=jnp.ones(N), epsilon=0.5)
    with pytest.raises(ValueError, match="steps and segment from 1"):
        unrolled_sinkhorn(r.x, r.y, epsilon=0.5, steps=0)


def test_failure_of_the_solver_is_reported_by_the_result():
    r = solved_example()
    early = implicit_sinkhorn(r.x, r.y, epsilon=0.5, max_steps=2)
    with pytest.raises(RuntimeError, match="stopped at max_steps"):
        early.require_converged()
