"""ProgOT against a NumPy recursion in float64; its schedules, its invariants, its failures."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from otlab.core.status import Status
from otlab.couplings.entropic_ot.entropic_map import default_epsilon, entropic_map, recovery
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn
from otlab.couplings.progot import (
    alpha_schedule,
    epsilon_schedule,
    progot,
    progress,
    tolerance_schedule,
)

STEPS = 4
TIGHT = jnp.full(STEPS, 1e-5)


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(0)
    x, y, z = rng.normal(size=(24, 2)), 0.6 * rng.normal(size=(30, 2)) + 4, rng.normal(size=(9, 2))
    return tuple(jnp.asarray(v, jnp.float32) for v in (x, y, z))


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(1)
    a, b = rng.gamma(1.0, size=24), rng.gamma(0.5, size=30)
    b[:5] = 0
    return a / a.sum(), b / b.sum()


@pytest.fixture(scope="module")
def schedules():
    alphas = alpha_schedule("lin", STEPS)
    return dict(epsilons=epsilon_schedule(alphas, 4.0, 0.2), alphas=alphas, tols=TIGHT)


def reference(x, y, a, b, epsilons, alphas, z):
    """The recursion of the paper in float64: clouds, map of z, last plan."""
    x, y, z = (np.asarray(v, np.float64) for v in (x, y, z))
    clouds = []
    for epsilon, alpha in zip(np.asarray(epsilons), np.asarray(alphas), strict=True):
        clouds.append(x)
        _, g, P = oracles.sinkhorn_float64(oracles.squared(x, y), a, b, epsilon)

        def E(v, g=g, epsilon=epsilon):
            with np.errstate(divide="ignore"):
                return softmax(np.log(b) + (g - oracles.squared(v, y)) / epsilon, axis=1) @ y

        arrived = E(z)
        x, z = (1 - alpha) * x + alpha * E(x), (1 - alpha) * z + alpha * arrived
    return np.array(clouds), arrived, P


# ---------------------------------------------------------------- oracle


@pytest.mark.parametrize("warm", [True, False])
def test_oracle_float64_recursion(clouds, weights, schedules, warm):
    x, y, z = clouds
    a, b = weights
    got = progot(x, y, a=a, b=b, warm=warm, **schedules).require_converged()
    X, arrived, P = reference(x, y, a, b, schedules["epsilons"], schedules["alphas"], z)
    np.testing.assert_allclose(got.positions, X, atol=5e-4)
    np.testing.assert_allclose(got.map(z), arrived, atol=1e-3)
    np.testing.assert_allclose(got.plan(), P, atol=1e-4)


def test_oracle_one_step_is_one_entropic_map_here_and_in_ott(clouds):
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.tools import progot as ott_progot

    x, y, z = clouds
    one = progot(x, y, epsilons=jnp.ones(1), alphas=jnp.ones(1), tols=TIGHT[:1])
    r = sinkhorn(x, y, epsilon=1.0, tol=1e-5)
    np.testing.assert_allclose(one.map(z), entropic_map(r, z), atol=1e-5)
    with jax.numpy_dtype_promotion("standard"):
        problem = linear_problem.LinearProblem(pointcloud.PointCloud(x, y))
        solve = ott_progot.ProgOT(jnp.ones(1), epsilons=jnp.ones(1))
        theirs = solve(problem, threshold=1e-5).transport(z)[1]
    np.testing.assert_allclose(one.map(z), theirs, atol=1e-3)


def test_oracle_schedules_of_ott():
    from ott.tools.progot import get_alpha_schedule

    with jax.numpy_dtype_promotion("standard"):
        lin, exp = (get_alpha_schedule(kind, num_steps=5) for kind in ("lin", "exp"))
    np.testing.assert_allclose(alpha_schedule("lin", 5), lin, rtol=1e-6)  # their exp never arrives
    np.testing.assert_allclose(alpha_schedule("exp", 5)[:-1], exp[:-1], rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_oracle_progress_in_closed_form(steps):
    k = np.arange(1, steps + 1)
    wanted = {"lin": k / steps, "quad": (k / steps) ** 2,
              "exp": np.where(k < steps, 1 - (1 - np.exp(-1)) ** k, 1)}
    for kind, t in wanted.items():
        alphas = alpha_schedule(kind, steps)
        assert float(alphas[-1]) == 1 and jnp.all((alphas > 0) & (alphas <= 1))
        np.testing.assert_allclose(progress(alphas), t, atol=1e-5)


def test_oracle_epsilon_counts_progress_after_the_step():
    alphas = alpha_schedule("lin", 8)
    after = epsilon_schedule(alphas, 5.0, 0.01)
    before = epsilon_schedule(alphas, 5.0, 0.01, counted="before")
    np.testing.assert_allclose(after[-1], 0.01, rtol=1e-4)
    np.testing.assert_allclose(before, [5.0, *after[:-1]], rtol=1e-5)
    np.testing.assert_allclose(before[-1], 5 / 8 + 0.01 * 7 / 8, rtol=1e-5)
    np.testing.assert_allclose(tolerance_schedule(3), [0.1, 0.0505, 1e-3], rtol=1e-5)
    np.testing.assert_allclose(tolerance_schedule(1), [1e-3], rtol=1e-6)


def test_oracle_a_known_far_map(clouds):
    """A shrunk and shifted copy: partners are known, and the default epsilon blurs them away."""
    x = jnp.concatenate([clouds[2], clouds[0]])[:24]
    y = jnp.concatenate([0.7 * x, 0.7 * clouds[2][:6]]) + jnp.array([30.0, 10.0])
    start, alphas = default_epsilon(x, y), alpha_schedule("lin", STEPS)
    got = progot(x, y, epsilons=epsilon_schedule(alphas, 5 * start, 0.01), alphas=alphas)
    blurred = sinkhorn(x, y, epsilon=start)
    own = jnp.arange(24)
    assert recovery(got.solves[-1], own).trace > 0.5 > 0.1 > recovery(blurred, own).trace
    missed = [jnp.mean(jnp.sum((T - y[:24]) ** 2, axis=1)) / jnp.sum(jnp.var(y, axis=0))
              for T in (got.map(x), entropic_map(blurred, x))]
    assert missed[0] < 0.1 < 0.5 < missed[1]


# ---------------------------------------------------------------- invariant


def test_invariant_the_map_follows_the_path_it_was_fitted_on(clouds, schedules):
    """OTT 0.6.0 fits on a cloud that starts again from x at every step, and maps from z_k."""
    x, y, z = clouds
    got = progot(x, y, **schedules)
    np.testing.assert_allclose(got.path(x)[:-1], got.positions, atol=1e-5)
    np.testing.assert_allclose(got.path(z)[-1], got.map(z))
    np.testing.assert_allclose(got.path(z)[0], z)
    np.testing.assert_allclose(got.map(z, block=4), got.map(z), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(alphas=st.lists(st.floats(0.05, 1), min_size=4, max_size=4),
       epsilons=st.lists(st.floats(0.1, 50), min_size=4, max_size=4))
def test_invariant_any_schedule_goes_towards_the_target(clouds, alphas, epsilons):
    x, y, _ = clouds
    alphas, epsilons = (jnp.asarray(v, jnp.float32) for v in (alphas, epsilons))
    got = progot(x, y, epsilons=epsilons, alphas=alphas, max_steps=3_000).require_converged()
    np.testing.assert_allclose(got.epsilons, epsilons)
    low, high = y.min(0) - 1e-3, y.max(0) + 1e-3
    ends = got.path(x)
    assert jnp.all((ends[-1] > low) & (ends[-1] < high))
    left = jnp.linalg.norm(ends.mean(1) - y.mean(0), axis=1)
    np.testing.assert_allclose(left[1:STEPS], left[0] * (1 - progress(alphas))[:-1], rtol=0.05,
                               atol=0.05)  # the mean travels straight, at the speed of alphas
    np.testing.assert_allclose(got.plan().sum(0), 1 / 30, atol=1e-3)


def test_invariant_warm_and_cold_starts_agree(clouds, schedules):
    x, y, z = clouds
    warm, cold = (progot(x, y, warm=w, **schedules) for w in (True, False))
    np.testing.assert_allclose(warm.map(z), cold.map(z), atol=1e-3)
    assert warm.potentials[0].shape == (STEPS, 24) and warm.potentials[1].shape == (STEPS, 30)


def test_oracle_a_warm_start_is_the_last_potential_shrunk_by_the_way_left(
        clouds, schedules, monkeypatch):
    seen = []

    def watched(x, y, *, init=None, **settings):
        seen.append(init)
        return sinkhorn(x, y, init=init, **settings)

    monkeypatch.setattr(sys.modules["otlab.couplings.progot"], "sinkhorn", watched)
    found = progot(clouds[0], clouds[1], **schedules)
    assert seen[0] is None and len(seen) == STEPS
    for start, last, alpha in zip(seen[1:], found.solves, found.alphas, strict=False):
        np.testing.assert_allclose(start, (1 - alpha) * last.g, rtol=1e-6)


def test_invariant_jit_changes_nothing(clouds, schedules):
    x, y, z = clouds
    fitted = jax.jit(lambda x, y, z: progot(x, y, **schedules).map(z))(x, y, z)
    np.testing.assert_allclose(fitted, progot(x, y, **schedules).map(z), atol=1e-4)


def test_invariant_the_last_solve_is_near_so_float32_carries_a_small_epsilon(clouds):
    x, y, _ = clouds
    far = y + 100
    assert sinkhorn(x, far, epsilon=0.2).status == Status.PRECISION
    alphas = alpha_schedule("lin", STEPS)
    epsilons = epsilon_schedule(alphas, 5 * default_epsilon(x, far), 0.2)
    assert not progot(x, far, epsilons=epsilons, alphas=alphas).status.any()


# ---------------------------------------------------------------- gradient


def test_gradient_of_the_composed_map_is_that_of_finite_differences(clouds, schedules):
    x, y, z = clouds
    got = progot(x, y, **schedules)
    J = jax.jacobian(lambda p: got.map(p[None])[0])(z[0])
    h = 1e-2 * jnp.eye(2)
    slopes = (got.map(z[0] + h) - got.map(z[0] - h)) / 2e-2
    np.testing.assert_allclose(J, slopes.T, atol=2e-2)


def test_gradient_through_the_solves_is_refused(clouds, schedules):
    x, y, z = clouds
    one = {name: values[:1] for name, values in schedules.items()}
    with pytest.raises(ValueError, match="dual_value"):
        jax.grad(lambda x: progot(x, y, **one).map(z).sum())(x)


# ---------------------------------------------------------------- failure


def test_failure_names_the_step_and_the_remedy(clouds, schedules):
    x, y, _ = clouds
    hasty = progot(x, y, max_steps=1, method="plain", **schedules)
    assert (hasty.status == Status.MAX_STEPS).any() and (hasty.sweeps <= 1).all()
    with pytest.raises(RuntimeError, match=r"progot, step \d of 4: .*max_steps"):
        hasty.require_converged()


@pytest.mark.parametrize("change, says", [
    (dict(epsilons=jnp.ones(3)), "epsilons of shape"),
    (dict(tols=jnp.ones(2)), "tols of shape"),
    (dict(alphas=jnp.ones((4, 1))), "one alpha a step"),
    (dict(alphas=jnp.zeros(0)), "one alpha a step"),
    (dict(alphas=jnp.array([0.5, 0.5, 1.5, 1])), r"\(0, 1\]"),
    (dict(alphas=jnp.array([0.5, 0.0, 0.5, 1])), r"\(0, 1\]"),
    (dict(alphas=jnp.array([0.5, jnp.nan, 0.5, 1])), r"\(0, 1\]"),
    (dict(epsilons=jnp.array([1, 1, 1, 0.0])), "epsilon > 0"),
    (dict(a=jnp.ones(24)), "sum to 1"),
])
def test_failure_settings_that_cannot_work(clouds, schedules, change, says):
    x, y, _ = clouds
    with pytest.raises(ValueError, match=says):
        progot(x, y, **(schedules | change))


@pytest.mark.parametrize("bad, says", [
    (lambda x: x.at[2, 0].set(jnp.nan), "NaN"),
    (lambda x: x[:0], "at least one point"),
    (lambda x: x[:, :1], r"\(n, d\)"),
])
def test_failure_clouds_that_cannot_work(clouds, schedules, bad, says):
    x, y, _ = clouds
    with pytest.raises(ValueError, match=says):
        progot(bad(x), y, **schedules)


def test_failure_words_it_does_not_know():
    with pytest.raises(ValueError, match="lin, exp, quad"):
        alpha_schedule("cosine", 4)
    with pytest.raises(ValueError, match="steps >= 1"):
        alpha_schedule("lin", 0)
    with pytest.raises(ValueError, match="after"):
        epsilon_schedule(jnp.ones(2), 1.0, 0.1, counted="during")
