"""Sinkhorn against float64, closed forms, exact solvers and two libraries; its invariants."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from compilations import compilations
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.core.costs import relative_epsilon, squared_distances
from otlab.core.status import Status
from otlab.couplings.entropic_ot.engine.solve import ROUNDING
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn, warm_start

TABLES = {"sqeuclidean": oracles.squared, "dot": oracles.dot}


@pytest.fixture
def clouds(key):
    key_x, key_y = jax.random.split(key)
    x = jax.random.normal(key_x, (48, 3))
    return x, 0.5 * jax.random.normal(key_y, (64, 3)) + 1


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    a, b = rng.gamma(1.0, size=48), rng.gamma(0.5, size=64)
    a[[3, 11]] = 0
    b[:5] = 0
    return a / a.sum(), b / b.sum()


# ---------------------------------------------------------------- oracle


@pytest.mark.parametrize("block", [None, 7])
@pytest.mark.parametrize("cost", ["sqeuclidean", "dot"])
def test_oracle_float64_potentials_and_plan(clouds, weights, cost, block):
    C = TABLES[cost](*clouds)
    r = sinkhorn(*clouds, epsilon=0.5, a=weights[0], b=weights[1], cost=cost, tol=1e-5, block=block)
    f, g, P = oracles.sinkhorn_float64(C, *weights, 0.5)
    shift = np.mean(np.asarray(r.g) - g)  # (f + c, g - c) is the same plan
    np.testing.assert_allclose(r.f + shift, f, atol=2e-4)
    np.testing.assert_allclose(r.g - shift, g, atol=2e-4)
    np.testing.assert_allclose(r.plan(), P, atol=3e-6)
    np.testing.assert_allclose(r.transport_cost(), np.sum(P * C), rtol=1e-4)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_oracle_gaussians_in_closed_form(epsilon):
    """To float32 accuracy: sums over a fine grid are integrals up to 1e-9."""
    s, t = 1.0, 0.6
    grid = np.linspace(-6, 6, 401)
    a, b = (np.exp(-0.5 * grid**2 / v**2) for v in (s, t))
    x = jnp.asarray(grid[:, None], jnp.float32)
    tol = max(1e-5, 1.01 * ROUNDING * float(jnp.finfo(jnp.float32).eps) * 144 / epsilon)
    r = sinkhorn(
        x, x, epsilon=epsilon, a=a / a.sum(), b=b / b.sum(), tol=tol, max_steps=5_000
    ).require_converged()
    c, kl, f2, g2 = oracles.gaussian_entropic(s, t, epsilon)
    np.testing.assert_allclose(r.transport_cost(), s**2 + t**2 - 2 * c, rtol=10 * tol)
    np.testing.assert_allclose(r.dual_value(), s**2 + t**2 - 2 * c + epsilon * kl, rtol=3 * tol)
    bulk = np.abs(grid) < 2
    for potential, curvature in ((r.f, f2), (r.g, g2)):
        f = np.asarray(potential)[bulk] - curvature * grid[bulk] ** 2  # a constant is left
        assert np.ptp(f) < 30 * tol * epsilon + 1e-5 * 16


@pytest.mark.parametrize("method", ["kernel", "stream", "plain"])
@pytest.mark.parametrize("epsilon", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("first, second", [(0.5, 0.5), (0.8, 0.3)])
def test_oracle_two_points_in_closed_form(first, second, epsilon, method):
    """P_11 solves t (1 - a - b + t) = r (a - t)(b - t), r the odds ratio of the kernel."""
    x, y = np.array([[0.0], [1.0]]), np.array([[0.1], [0.8]])
    C = oracles.squared(x, y)
    r = np.exp((C[0, 1] + C[1, 0] - C[0, 0] - C[1, 1]) / epsilon)
    roots = np.roots([1 - r, 1 - first - second + r * (first + second), -r * first * second])
    low, high = max(0, first + second - 1), min(first, second)
    (t,) = [v.real for v in roots if low <= v.real <= high and abs(v.imag) < 1e-12]
    P = np.array([[t, first - t], [second - t, 1 - first - second + t]])
    out = sinkhorn(x, y, epsilon=epsilon, a=[first, 1 - first], b=[second, 1 - second], tol=1e-5,
                   method=method, max_steps=50_000).require_converged()
    np.testing.assert_allclose(out.plan(), P, atol=1e-5)
    if P.min() > 1e-3:  # an entry of 1e-7 says nothing about potentials in float32
        ratio = np.exp((out.f[0] - out.f[1] + C[1, 0] - C[0, 0]) / epsilon)
        np.testing.assert_allclose(ratio, P[0, 0] / first / (P[1, 0] / (1 - first)), rtol=1e-3)
    kl = np.sum(P * np.log(P / np.outer([first, 1 - first], [second, 1 - second])))
    np.testing.assert_allclose(out.dual_value(), np.sum(P * C) + epsilon * kl, rtol=2e-5)


def test_oracle_small_epsilon_meets_exact_assignment(key):
    x, y = jax.random.normal(key, (2, 40, 4))
    j, exact = oracles.exact_assignment(oracles.squared(x, y))
    r = sinkhorn(x, y, epsilon=0.02, max_steps=20_000).require_converged()
    np.testing.assert_allclose(r.transport_cost(), exact, rtol=1e-2)
    assert np.mean(np.argmax(r.plan(), axis=1) == j) > 0.9


def test_oracle_line_meets_sorting(key):
    x, y = jax.random.normal(key, (2, 60, 1))
    r = sinkhorn(x, y + 2, epsilon=0.01, max_steps=20_000).require_converged()
    np.testing.assert_allclose(r.transport_cost(), oracles.sorted_cost(x, y + 2), rtol=1e-2)


def ott_solution(x, y, cost, **weights):
    pytest.importorskip("ott")
    from ott.geometry import costs, pointcloud
    from ott.solvers import linear

    with jax.numpy_dtype_promotion("standard"):
        geom = pointcloud.PointCloud(x, y, cost_fn=cost(costs), epsilon=0.3)
        return linear.solve(geom, threshold=1e-5, max_iterations=5_000, **weights)


def test_oracle_ott_finds_the_same_plan_and_potentials(clouds, weights):
    a, b = (jnp.asarray(w, jnp.float32) for w in weights)
    theirs = ott_solution(*clouds, lambda costs: costs.NegDotProduct(), a=a, b=b)
    ours = sinkhorn(*clouds, epsilon=0.3, a=a, b=b, cost="dot", tol=2e-5, max_steps=5_000)
    np.testing.assert_allclose(ours.plan(), theirs.matrix, atol=1e-5)
    used = weights[0] > 0  # their f holds epsilon log a
    gap = (ours.f + 0.3 * jnp.log(ours.a) - theirs.f)[used]
    assert np.ptp(gap) < 2e-3


def test_oracle_ott_finds_the_same_sharpness(clouds):
    x, y = clouds[0], clouds[1][:48]
    theirs = ott_solution(x, y, lambda costs: costs.SqEuclidean())
    ours = sinkhorn(x, y, epsilon=0.3, tol=2e-5, max_steps=5_000)
    np.testing.assert_allclose(ours.plan(), theirs.matrix, atol=1e-5)
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(ours.sharpness(), theirs.normalized_entropy, atol=1e-4)


def test_oracle_pot_finds_the_same_plan(clouds, monkeypatch):
    monkeypatch.setenv("POT_BACKEND_DISABLE_PYTORCH", "1")  # half of its import time
    ot = pytest.importorskip("ot")
    a, b = np.full(48, 1 / 48), np.full(64, 1 / 64)
    theirs = ot.sinkhorn(a, b, oracles.squared(*clouds), 0.3, method="sinkhorn_log", stopThr=1e-9)
    ours = sinkhorn(*clouds, epsilon=0.3, tol=1e-5, max_steps=5_000)
    np.testing.assert_allclose(ours.plan(), theirs, atol=1e-5)


# ---------------------------------------------------------------- invariant


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 5.0, 500.0])
def test_invariant_marginals(clouds, weights, epsilon):
    r = sinkhorn(*clouds, epsilon=epsilon, a=weights[0], b=weights[1], max_steps=20_000)
    P = r.require_converged().plan()
    assert np.abs(P.sum(1) - weights[0]).sum() < 1.1e-3
    assert np.abs(P.sum(0) - weights[1]).sum() < 1e-5
    np.testing.assert_allclose(np.abs(P.sum(1) - weights[0]).sum(), r.error, atol=1e-5)
    assert (P[weights[0] == 0] == 0).all() and (P[:, weights[1] == 0] == 0).all()
    assert jnp.isfinite(r.f).all() and jnp.isfinite(r.g).all()


def test_invariant_zero_weights_equal_leaving_points_out(clouds, weights):
    x, y = clouds
    a, b = weights
    full = sinkhorn(x, y, epsilon=0.3, a=a, b=b, tol=1e-5)
    i, j = a > 0, b > 0
    part = sinkhorn(x[i], y[j], epsilon=0.3, a=a[i], b=b[j], tol=1e-5)
    np.testing.assert_allclose(full.plan()[i][:, j], part.plan(), atol=2e-6)


@pytest.mark.parametrize("block", [None, 16])
def test_invariant_points_without_mass_on_both_sides_count_for_nothing(key, block):
    """Their exponents f + g - C overflow at small epsilon; no value may become NaN."""
    key_x, key_y = jax.random.split(key)
    x, y = jax.random.normal(key_x, (64, 2)), jax.random.normal(key_y, (48, 2)) + 2
    a = np.r_[np.full(8, 1 / 8), np.zeros(56)]
    b = np.r_[np.full(6, 1 / 6), np.zeros(42)]
    how = dict(epsilon=0.01, max_steps=20_000, block=block)
    all_, alive = sinkhorn(x, y, a=a, b=b, **how), sinkhorn(x[:8], y[:6], **how)
    raw = (all_.f[:, None] + all_.g - oracles.squared(x, y)) / 0.01
    assert raw.max() > 100  # so that the trap is there
    assert abs(all_.plan()[:8, :6] - alive.plan()).sum() < 5e-3 and np.isfinite(all_.plan()).all()
    for value in ("transport_cost", "dual_value", "sharpness", "entropy"):
        np.testing.assert_allclose(getattr(all_, value)(), getattr(alive, value)(), atol=5e-3)
    slope = jax.grad(lambda x: sinkhorn(x, y, a=a, b=b, **how).dual_value())(x)
    assert np.isfinite(slope).all() and not slope[8:].any()


def test_invariant_squared_at_twice_epsilon_is_dot(clouds):
    dot = sinkhorn(*clouds, epsilon=0.1, cost="dot", tol=2e-5, max_steps=5_000)
    squared = sinkhorn(*clouds, epsilon=0.2, cost="sqeuclidean", tol=2e-5, max_steps=5_000)
    np.testing.assert_allclose(dot.plan(), squared.plan(), atol=2e-6)


def test_invariant_translation_moves_no_mass(clouds):
    x, y = clouds
    plans = [sinkhorn(x + s, y - s, epsilon=0.5, cost="dot", tol=1e-4).plan() for s in (0, 3)]
    np.testing.assert_allclose(*plans, atol=1e-5)


def test_invariant_permutation_and_exchange(clouds, weights, key):
    x, y = clouds
    a, b = weights
    i, j = jax.random.permutation(key, 48), jax.random.permutation(key, 64)
    P = sinkhorn(x, y, epsilon=0.3, a=a, b=b, tol=1e-5).plan()
    moved = sinkhorn(x[i], y[j], epsilon=0.3, a=a[np.asarray(i)], b=b[np.asarray(j)], tol=1e-5)
    np.testing.assert_allclose(moved.plan(), P[i][:, j], atol=2e-6)
    swapped = sinkhorn(y, x, epsilon=0.3, a=b, b=a, tol=1e-5)
    np.testing.assert_allclose(swapped.plan().T, P, atol=2e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1e4])
def test_invariant_scale_of_the_clouds(clouds, scale):
    x, y = clouds
    plain = sinkhorn(x, y, epsilon=0.3, tol=1e-4)
    scaled = sinkhorn(scale * x, scale * y, epsilon=0.3 * scale**2, tol=1e-4)
    assert scaled.require_converged().steps == plain.steps
    np.testing.assert_allclose(scaled.plan(), plain.plan(), atol=1e-6)


def test_invariant_error_falls_with_steps(clouds):
    errors = [
        float(sinkhorn(*clouds, epsilon=0.05, tol=1e-4, max_steps=k, method="plain").error)
        for k in range(1, 60, 6)
    ]
    assert all(later < earlier for earlier, later in zip(errors, errors[1:], strict=False))


def test_invariant_streamed_equals_stored_and_builds_no_table(clouds, key):
    n, m, block = 96, 80, 7  # 7 divides neither
    key_x, key_y = jax.random.split(key)
    x, y = jax.random.normal(key_x, (n, 2)), jax.random.normal(key_y, (m, 2))

    def everything(x, y, block, method="auto"):
        r = sinkhorn(x, y, epsilon=0.1, cost="dot", tol=1e-4, block=block, method=method)
        pairs = r.sample_pairs(key, block=9 if block else n)
        value = jax.grad(
            lambda x: sinkhorn(x, y, epsilon=0.1, tol=1e-5, block=block).dual_value())(x)
        f = r.potential(x), r.target_potential(y), r.transport_cost(), r.sharpness()
        return r.f, r.g, pairs, value, *f

    sizes = {}
    for b in (None, block):
        closed = jax.make_jaxpr(lambda x, y, b=b: everything(x, y, b))(x, y)
        sizes[b] = max(v.aval.size for j in walk(closed.jaxpr) for e in j.eqns for v in e.outvars)
    assert sizes[None] >= n * m > 4 * sizes[block]
    compiled = partial(jax.jit(everything, static_argnums=(2, 3)), x, y)
    for stored, streamed in zip(compiled(None, "plain"), compiled(block, "plain"), strict=True):
        np.testing.assert_allclose(streamed, stored, atol=2e-5)


def walk(jaxpr):
    """A jaxpr and every jaxpr inside it."""
    yield jaxpr
    for eqn in jaxpr.eqns:
        for leaf in jax.tree.leaves(list(eqn.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(leaf):
                yield from walk(getattr(leaf, "jaxpr", leaf))


def is_jaxpr(value):
    return hasattr(getattr(value, "jaxpr", value), "eqns")


@pytest.mark.parametrize("method", ["auto", "stream", "plain"])
def test_invariant_new_settings_compile_nothing(clouds, method):
    def solve(epsilon, **settings):
        return sinkhorn(*clouds, epsilon=epsilon, method=method, **settings)

    solve(0.5)
    solve(1, init=solve(1))
    one = jnp.float32(1)
    with compilations() as seen:
        for epsilon in (0.1, 3, np.float64(2), one):
            solve(epsilon, tol=float(epsilon) * 1e-3, max_steps=int(10 * float(epsilon)))
        solve(0.5, a=np.full(48, 1 / 48))
        solve(0.5, init=solve(1))
    assert not seen
    with compilations() as seen:
        sinkhorn(*clouds, epsilon=0.5, method=method, cost=lambda x, y: squared_distances(x, y))
    assert seen  # so the count can move


def test_invariant_jit_vmap_and_map_agree(clouds):
    x, y = clouds
    one = lambda x: sinkhorn(x, y, epsilon=0.3, method="plain").f  # noqa: E731
    xs = jnp.stack([x, x + 0.1, 2 * x])
    loop = jnp.stack([one(x) for x in xs])
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(xs), loop, atol=1e-5)
    np.testing.assert_allclose(jax.lax.map(one, xs), loop, atol=1e-5)


def test_invariant_own_cost_equals_named(clouds):
    how = dict(epsilon=0.5, tol=1e-5, block=10)
    mine, named = sinkhorn(*clouds, cost=squared_distances, **how), sinkhorn(*clouds, **how)
    np.testing.assert_allclose(mine.plan(), named.plan(), atol=1e-7)


def test_invariant_potentials_extend_to_new_points(clouds):
    r = sinkhorn(*clouds, epsilon=0.3, tol=1e-5)
    np.testing.assert_allclose(r.potential(r.x), r.f, atol=1e-4)
    np.testing.assert_allclose(r.target_potential(r.y), r.g, atol=1e-4)
    grad = jax.grad(lambda p: r.potential(p[None])[0])(r.x[0])  # 2 (x - barycentre)
    barycentre = r.plan()[0] @ r.y / r.a[0]
    np.testing.assert_allclose(grad, 2 * (r.x[0] - barycentre), atol=1e-3)


def test_invariant_warm_start_saves_steps(clouds, key):
    x, y = clouds
    r = sinkhorn(x, y, epsilon=0.05, max_steps=5_000).require_converged()
    assert sinkhorn(x, y, epsilon=0.05, init=r).steps == 1
    assert sinkhorn(x, y, epsilon=0.05, init=(r.f, r.g + 100)).steps <= 2
    xs, ys = x + 0.02 * jax.random.normal(key, x.shape), y[::-1] * 0.99
    cold = sinkhorn(xs, ys, epsilon=0.05, max_steps=5_000)
    warm = sinkhorn(xs, ys, epsilon=0.05, init=warm_start(r, xs, ys), max_steps=5_000)
    assert int(warm.require_converged().steps) < 0.8 * int(cold.require_converged().steps)


def test_invariant_double_precision(float64):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
    r = sinkhorn(x, y, epsilon=0.1, tol=1e-11, max_steps=20_000).require_converged()
    assert r.f.dtype == jnp.float64
    _, _, P = oracles.sinkhorn_float64(
        oracles.squared(x, y), np.full(30, 1 / 30), np.full(20, 1 / 20), 0.1
    )
    np.testing.assert_allclose(r.plan(), P, atol=1e-11)
    mixed = sinkhorn(x.astype(np.float32), y, epsilon=np.float32(0.1))
    assert mixed.f.dtype == jnp.float64


# ---------------------------------------------------------------- never a silent wrong answer

SHAPES = st.sampled_from([(1, 1, 3), (1, 7, 1), (7, 3, 2), (16, 16, 1), (5, 31, 3)])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=SHAPES,
    cost=st.sampled_from(["sqeuclidean", "dot"]),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-4, 1.0, 1e3]),
    shift=st.sampled_from([0.0, 1.0, 100.0]),
    power=st.floats(-5, 2),
    tol=st.sampled_from([1e-5, 1e-3, 1e-1]),
    zeros=st.booleans(),
)
def test_property_converged_means_converged(shape, cost, seed, scale, shift, power, tol, zeros):
    n, m, d = shape
    rng = np.random.default_rng(seed)
    x = (scale * rng.normal(size=(n, d))).astype(np.float32)
    y = (scale * (rng.standard_t(3, size=(m, d)) + shift)).astype(np.float32)
    a, b = rng.gamma(0.5, size=n) + 1e-3, rng.gamma(0.5, size=m) + 1e-3
    if zeros:
        a[1:][rng.random(n - 1) < 0.3] = 0
        b[1:][rng.random(m - 1) < 0.3] = 0
    a, b = a / a.sum(), b / b.sum()
    epsilon = 10**power * scale**2
    r = sinkhorn(x, y, epsilon=epsilon, a=a, b=b, cost=cost, tol=tol, max_steps=300)
    C = TABLES[cost](x, y)
    ratio = np.abs(C).max() / epsilon
    if int(r.status) == Status.CONVERGED:
        P = oracles.plan_float64(r.require_converged(), C)
        assert np.isfinite(P).all()
        assert np.abs(P.sum(1) - a).sum() <= 2 * tol + 1e-6
        assert np.abs(P.sum(0) - b).sum() <= tol + 1e-6
    else:
        assert int(r.status) in (Status.MAX_STEPS, Status.PRECISION)
        beyond = ROUNDING * np.finfo(np.float32).eps * ratio > 0.99 * tol
        assert beyond or (int(r.steps) == 300 and float(r.error) > tol)
        with pytest.raises(RuntimeError, match="epsilon"):
            r.require_converged()


# ---------------------------------------------------------------- gradient


@pytest.mark.parametrize("cost, block", [("sqeuclidean", None), ("dot", 5)])
def test_gradient_envelope_matches_differences(float64, cost, block):
    rng = np.random.default_rng(2)
    x, y = jnp.asarray(rng.normal(size=(12, 2))), jnp.asarray(rng.normal(size=(9, 2)) + 0.5)
    a = jnp.asarray(rng.dirichlet(np.ones(12)))

    def value(x, y, a, epsilon):
        r = sinkhorn(x, y, epsilon=epsilon, a=a, cost=cost, tol=1e-12, max_steps=9_000, block=block)
        return r.dual_value()

    at = (x, y, a, jnp.asarray(0.3))
    value = jax.jit(value)
    for k, grad in enumerate(jax.jit(jax.grad(value, argnums=(0, 1, 2, 3)))(*at)):
        v = jnp.asarray(rng.normal(size=grad.shape))
        v = v - v.mean() if k == 2 else v  # weights move within their sum
        h = 1e-5
        ends = [value(*at[:k], at[k] + s * h * v, *at[k + 1 :]) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * h)
        np.testing.assert_allclose(jnp.sum(grad * v), slope, rtol=1e-5, atol=1e-7)


def test_gradient_is_the_plan_applied_to_the_cost(clouds):
    x, y = clouds
    grad = jax.grad(lambda x: sinkhorn(x, y, epsilon=0.5, cost="dot").dual_value())(x)
    plan = sinkhorn(x, y, epsilon=0.5, cost="dot").plan()
    np.testing.assert_allclose(grad, -plan @ y, atol=1e-6)


@pytest.mark.parametrize("wrap", [lambda g: g, jax.jit], ids=["eager", "jit"])
def test_gradient_through_potentials_raises_instead_of_being_wrong(clouds, wrap):
    x, y = clouds
    grad = wrap(jax.grad(lambda x: sinkhorn(x, y, epsilon=0.5).transport_cost()))
    with pytest.raises(ValueError, match="dual_value"):
        grad(x)


# ---------------------------------------------------------------- failure


def test_failure_names_the_remedy(clouds):
    r = sinkhorn(*clouds, epsilon=1e-2, max_steps=5)
    assert int(r.status) == Status.MAX_STEPS and int(r.steps) == 5
    with pytest.raises(RuntimeError, match=r"max_steps.*steps=5, error=.*epsilon=0.01"):
        r.require_converged()


def test_failure_precision_names_the_ways_out_and_they_work(clouds):
    x, y = clouds[0], clouds[1] + 100
    epsilon = relative_epsilon(x, y, 0.1)
    r = sinkhorn(x, y, epsilon=epsilon, cost="dot")
    assert int(r.status) == Status.MAX_STEPS or int(r.status) == Status.CONVERGED
    far = sinkhorn(x + 300, y, epsilon=epsilon, cost="dot")
    with pytest.raises(RuntimeError, match=r"Centre.*raise epsilon.*float64"):
        far.require_converged()
    sinkhorn(
        x - x.mean(0), y - y.mean(0), epsilon=epsilon, cost="dot", max_steps=5_000
    ).require_converged()


def test_failure_in_one_of_many_is_found(clouds):
    x, y = clouds
    r = jax.vmap(lambda e: sinkhorn(x, y, epsilon=e, max_steps=20))(jnp.array([10.0, 1e-2]))
    with pytest.raises(RuntimeError, match="in problem 1 of 2"):
        r.require_converged()


def test_failure_nan_from_a_cost_of_your_own(clouds):
    r = sinkhorn(*clouds, epsilon=1.0, cost=lambda x, y: jnp.log(-squared_distances(x, y)))
    with pytest.raises(RuntimeError, match="NaN or an infinity"):
        r.require_converged()


def test_failure_nan_inside_jit_is_a_status(clouds):
    x, y = clouds
    status = jax.jit(lambda x: sinkhorn(x, y, epsilon=1.0).status)(x.at[3, 1].set(jnp.nan))
    assert int(status) == Status.NONFINITE


def test_failure_overflowing_cost_is_a_status(clouds):
    r = sinkhorn(clouds[0] * 1e25, clouds[1], epsilon=1.0)
    assert int(r.status) == Status.NONFINITE


ONES = np.ones((4, 2), np.float32)
BAD = {
    "images": (dict(x=np.ones((4, 2, 2))), "Flatten images"),
    "line": (dict(x=np.ones(4)), r"x\[:, None\]"),
    "dimensions": (dict(y=np.ones((4, 3))), r"\(4, 2\) and \(4, 3\)"),
    "empty": (dict(x=ONES[:0]), "at least one point"),
    "no coordinates": (dict(x=ONES[:, :0], y=ONES[:, :0]), "at least one point"),
    "complex": (dict(y=ONES * 1j), "real points in y"),
    "nan": (dict(x=np.where(np.eye(4, 2), np.nan, 1)), "x holds NaN or infinity in 2 of 4"),
    "infinity": (dict(y=ONES * np.inf), "y holds NaN or infinity in 4 of 4"),
    "negative weight": (dict(a=[0.5, 0.6, -0.1, 0]), r"a\[2\] is -0.1"),
    "nan weight": (dict(b=[0.5, np.nan, 0.5, 0]), r"b\[1\] is nan"),
    "unnormalised": (dict(a=[1, 1, 1, 1]), r"a sums to 4. Pass a / a.sum\(\)"),
    "no mass": (dict(a=[0, 0, 0, 0.0]), "a sums to 0"),
    "weight shape": (dict(b=[0.5, 0.5]), r"b of shape \(4,\); got \(2,\)"),
    "epsilon zero": (dict(epsilon=0), "epsilon > 0.*relative_epsilon.*exact assignment"),
    "epsilon negative": (dict(epsilon=-1.0), "got -1"),
    "epsilon nan": (dict(epsilon=np.nan), "finite epsilon"),
    "epsilon infinite": (dict(epsilon=np.inf), "finite epsilon"),
    "epsilon tiny": (dict(epsilon=1e-40), "not below 1.2e-38 in float32"),
    "epsilon vector": (dict(epsilon=np.ones(3)), "one number for epsilon"),
    "tol": (dict(tol=0.0), r"tol in \(0, 2\)"),
    "max_steps": (dict(max_steps=0), "max_steps"),
    "max_steps half": (dict(max_steps=1.5), "got 1.5"),
    "block": (dict(block=0), "block"),
    "block true": (dict(block=True), "block"),
    "cost name": (dict(cost="euclid"), "'euclid'"),
    "cost shape": (dict(cost=lambda x, y: x @ y.T @ y), r"of shape \(4, 4\)"),
    "init shape": (dict(init=np.ones(3)), r"shape \(4,\); got \(3,\)"),
    "init nan": (dict(init=np.full(4, np.nan)), "finite init"),
}


@pytest.mark.parametrize("change, words", BAD.values(), ids=BAD)
def test_failure_bad_input_gets_a_sentence(change, words):
    call = dict(x=ONES, y=ONES, epsilon=1.0) | change
    with pytest.raises(ValueError, match=words) as caught:
        sinkhorn(call.pop("x"), call.pop("y"), **call)
    assert str(caught.value).startswith(("sinkhorn wants", "cost must be"))


def test_invariant_accepts_lists_integers_and_half_precision():
    r = sinkhorn([[0], [1]], np.array([[0], [1], [2]], np.float16), epsilon=1)
    assert r.f.dtype == jnp.float32 and r.require_converged().plan().shape == (2, 3)


def test_invariant_one_point_each():
    r = sinkhorn(ONES[:1], 2 * ONES[:1], epsilon=1e-3)
    np.testing.assert_allclose(r.require_converged().plan(), [[1.0]], rtol=1e-6)
    assert float(r.sharpness()) == 0.0
