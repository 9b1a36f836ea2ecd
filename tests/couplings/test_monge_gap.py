"""The Monge gap against float64, closed forms, exact assignment and OTT; maps fitted with it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.core.costs import distances, great_circle, power_cost
from otlab.couplings import monge_maps
from otlab.couplings.monge_gap import conservativity, monge_gap, unexplained_variance

N, D = 25, 2  # one shape throughout: each costs a compilation
STRETCH = jnp.array([[2.0, 0.5], [0.5, 1.0]])
TURN = jnp.array([[0.0, -1.0], [1.0, 0.0]])


@pytest.fixture
def x(key):
    return jax.random.normal(key, (N, D))


@pytest.fixture
def weights():
    a = np.random.default_rng(0).gamma(1.0, size=N)
    a[3] = 0
    return a / a.sum()


def sphere(points):
    return points / jnp.linalg.norm(points, axis=1, keepdims=True)


def entropy(P):
    P = P[P > 0]
    return -np.sum(P * np.log(P))


# ---------------------------------------------------------------- oracle


@pytest.mark.parametrize("weighted", [False, True])
def test_oracle_value_is_spent_minus_the_entropic_cost_in_float64(x, weights, weighted):
    a = weights if weighted else np.full(N, 1 / N)
    Tx = x @ TURN.T
    gap = monge_gap(x, Tx, epsilon=0.3, a=a, tol=1e-5, max_steps=20_000).require_converged()
    C = oracles.squared(x, Tx)
    _, _, P = oracles.sinkhorn_float64(C, a, a, 0.3)
    needed = np.sum(P * C) - 0.3 * entropy(P)
    np.testing.assert_allclose(gap.needed, needed, atol=2e-4)
    np.testing.assert_allclose(gap.spent, np.sum(a * np.diag(C)), rtol=1e-5)
    np.testing.assert_allclose(gap.value, np.sum(a * np.diag(C)) - needed, atol=3e-4)
    np.testing.assert_allclose(gap.offset, 0.3 * entropy(a), rtol=1e-5)


def test_oracle_rotation_of_a_symmetric_law():
    x = jnp.asarray(np.stack(np.meshgrid(np.arange(-2.0, 3), np.arange(-2.0, 3)), -1), jnp.float32)
    x = x.reshape(N, D)
    a = np.exp(-0.5 * np.sum(np.asarray(x) ** 2, 1))
    a /= a.sum()
    gap = monge_gap(x, x @ TURN.T, epsilon=0.05, a=a, tol=1e-4, max_steps=20_000)
    trace = np.sum(a[:, None] * np.asarray(x) ** 2)
    np.testing.assert_allclose(gap.require_converged().spent, 2 * trace, rtol=1e-5)
    np.testing.assert_allclose(gap.excess, 2 * trace, rtol=1e-3)  # its law does not change


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_oracle_stretch_of_a_line_in_closed_form(epsilon):
    grid = np.linspace(-5, 5, N)
    a = np.exp(-0.5 * grid**2)
    a /= a.sum()
    x = jnp.asarray(np.stack([grid, 0 * grid], 1), jnp.float32)
    gap = monge_gap(x, 0.6 * x, epsilon=epsilon, a=a, tol=1e-5, max_steps=20_000)
    c, kl, _, _ = oracles.gaussian_entropic(1.0, 0.6, epsilon)
    entropic = 1 + 0.36 - 2 * c + epsilon * kl
    expected = 0.16 - entropic + epsilon * entropy(a)
    np.testing.assert_allclose(gap.require_converged().excess, expected, rtol=2e-3)


def test_oracle_small_epsilon_meets_exact_assignment(x):
    Tx = x @ TURN.T
    C = oracles.squared(x, Tx)
    exact = np.diag(C).mean() - oracles.exact_assignment(C)[1]
    gap = monge_gap(x, Tx, epsilon=5e-3, max_steps=50_000).require_converged()
    np.testing.assert_allclose(gap.excess, exact, rtol=1e-2)
    still = monge_gap(x, x @ STRETCH.T, epsilon=5e-3, max_steps=50_000).require_converged()
    assert 0 <= still.excess < 1e-2 < exact


def test_oracle_ott_regularised_cost(x):
    pytest.importorskip("ott")
    from ott.geometry import pointcloud
    from ott.solvers import linear

    Tx = x @ TURN.T
    with jax.numpy_dtype_promotion("standard"):
        geom = pointcloud.PointCloud(x, Tx, epsilon=0.3)
        theirs = linear.solve(geom, threshold=1e-5, max_iterations=20_000).ent_reg_cost
    ours = monge_gap(x, Tx, epsilon=0.3, tol=1e-5, max_steps=20_000)
    np.testing.assert_allclose(ours.needed, theirs, atol=2e-4)


def test_oracle_ott_monge_gap(x):
    theirs = pytest.importorskip("ott.neural.methods.monge_gap", exc_type=ImportError)
    Tx = x @ TURN.T
    with jax.numpy_dtype_promotion("standard"):
        value = theirs.monge_gap_from_samples(x, Tx, epsilon=0.3, threshold=1e-5)
    np.testing.assert_allclose(monge_gap(x, Tx, epsilon=0.3, tol=1e-5).value, value, atol=3e-4)


def test_oracle_conservativity_is_the_antisymmetric_part(key):
    M = jax.random.normal(key, (3, 3))
    points = jax.random.normal(key, (4_000, 3))
    potential = jax.grad(lambda p: jnp.sum(jnp.cos(M @ p)))
    turned, plain = jax.jit(lambda x: (conservativity(key, lambda p: M @ p, x),
                                       conservativity(key, potential, x)))(points)
    np.testing.assert_allclose(turned, jnp.sum((M - M.T) ** 2), rtol=0.1)
    np.testing.assert_allclose(plain, 0, atol=1e-8)


def test_oracle_gaussian_map_finds_a_linear_truth(x):
    T = monge_maps.gaussian_map(x, x @ STRETCH.T + 3)
    np.testing.assert_allclose(T.A, STRETCH, atol=1e-4)
    np.testing.assert_allclose(jax.vmap(T)(x), x @ STRETCH.T + 3, atol=1e-4)
    flat = monge_maps.gaussian_map(x * jnp.array([1.0, 0.0]), x)
    assert jnp.isfinite(flat.A).all()


def test_oracle_unexplained_variance(x):
    assert np.isclose(unexplained_variance(jnp.zeros_like(x) + x.mean(0), x), 100, rtol=1e-4)
    assert unexplained_variance(x, x) == 0


# ---------------------------------------------------------------- invariant


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-2, 1), st.sampled_from(["sqeuclidean", distances]))
def test_invariant_no_map_is_below_the_offset(seed, exponent, cost):
    x, Tx = jax.random.normal(jax.random.key(seed), (2, N, D))
    gap = monge_gap(x, Tx, epsilon=10**exponent, cost=cost, tol=1e-4, max_steps=50_000)
    assert gap.excess >= -1e-4 * (1 + gap.value)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_invariant_convex_in_the_values_of_the_map(seed):
    with jax.enable_x64(True):
        x, T0, T1 = jax.random.normal(jax.random.key(seed), (3, N, D))
        low, mid, high = (monge_gap(x, T, epsilon=0.1, tol=1e-8, max_steps=20_000).value
                          for T in (T0, (T0 + T1) / 2, T1))
        assert low + high - 2 * mid >= -1e-6


def test_invariant_translations_rotations_units_and_order(x):
    Tx = x @ TURN.T + 0.2

    def gap(x, Tx, epsilon=0.3):
        return monge_gap(x, Tx, epsilon=epsilon, tol=1e-5, max_steps=20_000).value

    here = gap(x, Tx)
    np.testing.assert_allclose(gap(x, Tx + 5), here, atol=2e-3)
    np.testing.assert_allclose(gap(x @ TURN, Tx @ TURN), here, atol=1e-4)
    np.testing.assert_allclose(gap(3 * x, 3 * Tx, 9 * 0.3), 9 * here, rtol=1e-4)
    np.testing.assert_allclose(gap(x[::-1], Tx[::-1]), here, atol=1e-4)


# ---------------------------------------------------------------- gradient


@pytest.mark.parametrize("cost, d", [("sqeuclidean", D), (great_circle, 3)],
                         ids=["plane", "sphere"])
def test_gradient_matches_finite_differences(float64, cost, d):
    x, Tx, v, w = jax.random.normal(jax.random.key(1), (4, N, d))
    on = sphere if d == 3 else lambda points: points

    def value(x, Tx, epsilon):
        gap = monge_gap(on(x), on(Tx), epsilon=epsilon, cost=cost, tol=1e-9, max_steps=50_000)
        return gap.value

    point, direction = (x, Tx, jnp.asarray(0.3)), (v, w, jnp.asarray(0.7))
    grads = jax.grad(value, argnums=(0, 1, 2))(*point)
    slope = sum(float(jnp.sum(g * d)) for g, d in zip(grads, direction, strict=True))
    h = 1e-5
    up, down = (value(*(p + s * h * d for p, d in zip(point, direction, strict=True)))
                for s in (1, -1))
    np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-5)
    if d == D:  # by hand: the map's own pairing, minus the optimal pairing
        P = monge_gap(x, Tx, epsilon=0.3, tol=1e-9, max_steps=50_000).result.plan()
        own, optimal = 2 * (Tx - x) / N, 2 * (Tx * P.sum(0)[:, None] - P.T @ x)
        np.testing.assert_allclose(grads[1], own - optimal, atol=1e-7)


def test_gradient_is_finite_where_a_point_stays(x):
    grad = jax.grad(lambda T: monge_gap(x, T, epsilon=0.3, cost=distances).value)(x)
    assert jnp.isfinite(grad).all()


# ---------------------------------------------------------------- maps


def objective(**settings):
    return monge_maps.Objective(**(dict(epsilon=0.05, epsilon_fit=0.3, gap=1.0) | settings))


def fitted(key, model, y, steps=60, **settings):
    return monge_maps.fit(key, model, lambda key, n: jax.random.normal(key, (n, D)), y,
                          objective(**settings), steps=steps, batch=N, rate=1e-2)


def test_oracle_structured_map_begins_at_its_start(key, x):
    start = monge_maps.Affine(STRETCH, jnp.array([1.0, -2.0]))
    for p in (2.0, 1.5, 4.0):
        model = monge_maps.StructuredMap(D, p=p, start=start, scale=0.0, key=key)
        T = jax.jit(jax.vmap(model))
        np.testing.assert_allclose(T(x), x @ STRETCH.T + start.b, atol=1e-4)


def test_invariant_structured_map_of_a_potential_has_no_excess(key, x):
    """Equation 6: x - grad h*(grad phi(x)) with phi h-concave; here phi of a small slope."""
    def T(p):
        F = jnp.array([0.1, 0.2]) + 0.02 * p
        return p - jnp.sign(F) * (jnp.abs(F) / 1.5) ** 2

    Tx = jax.vmap(T)(x)
    C = np.asarray(power_cost(1.5)(x, Tx), np.float64)
    np.testing.assert_allclose(np.diag(C).mean(), oracles.exact_assignment(C)[1], rtol=1e-5)


def test_invariant_sphere_maps_stay_on_the_sphere(key):
    points = sphere(jax.random.normal(key, (N, 3)))
    for residual in (True, False):
        Tx = jax.jit(jax.vmap(monge_maps.SphereMap(3, residual=residual, key=key)))(points)
        np.testing.assert_allclose(np.linalg.norm(Tx, axis=1), 1, atol=1e-5)
    assert np.sum(np.asarray(Tx) * points, axis=1).min() < 0.9  # without residual: anywhere


def test_step_with_every_term_leaves_the_start_alone(key, x):
    start = monge_maps.gaussian_map(x, x + 1)
    model = monge_maps.StructuredMap(D, p=1.5, start=start, key=key)
    goal = objective(gap=2.0, curl=0.1, spending=0.5, cost=power_cost(1.5), max_steps=5_000)
    state = monge_maps.init(model, optax.sgd(0.01))
    state, info = eqx.filter_jit(monge_maps.step)(key, state, x, x, goal)
    assert state.count == 1 and info["unconverged"] == 0
    np.testing.assert_allclose(
        info["loss"], info["divergence"] + 2 * (info["excess"] + 0.05 * np.log(N))
        + 0.5 * info["spent"] + 0.1 * info["curl"], rtol=1e-4)
    for before, after in zip(jax.tree.leaves(model), jax.tree.leaves(state.model), strict=True):
        if isinstance(before, jax.Array):
            assert np.isfinite(after).all()
    assert (state.model.start.A == start.A).all() and (state.model.start.b == start.b).all()
    assert not (state.model.mlp.layers[-1].bias == model.mlp.layers[-1].bias).any()


def test_fit_lowers_both_terms(key, x):
    y = x @ STRETCH.T + 1
    model = monge_maps.small_network(D, 32, 1, 1.0, key)
    goal = objective(epsilon_fit=0.5, max_steps=5_000)
    fit = monge_maps.fit(key, model, lambda key, n: jax.random.normal(key, (n, D)), y, goal,
                         steps=80, batch=N, rate=3e-2).require_converged()
    first, last = ({k: float(v[rows].mean()) for k, v in fit.history.items()}
                   for rows in (slice(0, 3), slice(-5, None)))
    assert last["divergence"] < first["divergence"] / 4
    assert last["excess"] < first["excess"] / 2
    assert set(fit.history) == {"loss", "divergence", "excess", "unconverged"}
    assert all(len(values) == 80 for values in fit.history.values())


# ---------------------------------------------------------------- failure


def test_failure_shapes_name_the_way_out(x):
    with pytest.raises(ValueError, match=r"jax.vmap\(T\)"):
        monge_gap(x, x[:5], epsilon=0.1)
    with pytest.raises(ValueError, match="row by row"):
        unexplained_variance(x, x[:5])
    with pytest.raises(ValueError, match="one dimension in and out"):
        conservativity(jax.random.key(0), lambda p: p[:1], x)
    with pytest.raises(ValueError, match="two points"):
        monge_maps.gaussian_map(x[:1], x)


@pytest.mark.parametrize("bad, word", [
    (dict(epsilon=0.0), "epsilon > 0"), (dict(epsilon=-1.0), "epsilon > 0"),
    (dict(epsilon=0.1, a=np.ones(N)), "sum to 1"), (dict(epsilon=0.1, cost="euclid"), "cost")])
def test_failure_bad_settings(x, bad, word):
    with pytest.raises(ValueError, match=word):
        monge_gap(x, x, **bad)


def test_failure_nan_and_empty(x):
    with pytest.raises(ValueError, match="NaN"):
        monge_gap(x, x.at[3].set(jnp.nan), epsilon=0.1)
    with pytest.raises(ValueError, match="at least one point"):
        monge_gap(x[:0], x[:0], epsilon=0.1)


def test_failure_no_convergence_is_said(x):
    gap = monge_gap(x, x @ TURN.T, epsilon=1e-2, max_steps=2)
    with pytest.raises(RuntimeError, match="max_steps"):
        gap.require_converged()


@pytest.mark.parametrize("bad", [dict(gap=-1.0), dict(epsilon=0.0), dict(epsilon_fit=float("nan")),
                                 dict(spending=float("inf"))])
def test_failure_objective_names_the_argument(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        objective(**bad)


def test_failure_maps_and_fit(key, x):
    with pytest.raises(ValueError, match="p > 1"):
        monge_maps.StructuredMap(2, p=1.0, key=key)
    model = monge_maps.Affine(STRETCH, jnp.zeros(D))
    good = dict(steps=2, batch=N, rate=0.1)
    for bad, word in ((dict(steps=0), "steps"), (dict(batch=0), "batch"), (dict(rate=0.0), "rate")):
        with pytest.raises(ValueError, match=word):
            monge_maps.fit(key, model, x, x, objective(), **(good | bad))
    with pytest.raises(ValueError, match="y finite"):
        monge_maps.fit(key, model, x, x.at[0].set(jnp.nan), objective(), **good)
    lost = monge_maps.MapFit(model, {"loss": jnp.array([1.0, jnp.nan])})
    with pytest.raises(RuntimeError, match="step 1 of 2"):
        lost.require_converged()
    missed = {"loss": jnp.ones(2), "unconverged": jnp.array([0, 3])}
    with pytest.raises(RuntimeError, match="3 Sinkhorn solves"):
        monge_maps.MapFit(model, missed).require_converged()
