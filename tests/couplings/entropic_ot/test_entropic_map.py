"""The entropic map against float64 and closed forms; calibration; recovery of partners."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from otlab.couplings.entropic_ot.entropic_map import (
    calibrate_epsilon,
    default_epsilon,
    entropic_map,
    recovery,
)
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn

EPSILON = 0.5


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(0)
    x, y, z = rng.normal(size=(24, 3)), 0.5 * rng.normal(size=(30, 3)) + 1, rng.normal(size=(9, 3))
    return tuple(jnp.asarray(v, jnp.float32) for v in (x, y, z))


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(1)
    a, b = rng.gamma(1.0, size=24), rng.gamma(0.5, size=30)
    a[[3, 11]] = 0
    b[:5] = 0
    return a / a.sum(), b / b.sum()


@pytest.fixture(scope="module")
def solved(clouds, weights):
    x, y, _ = clouds
    return sinkhorn(x, y, epsilon=EPSILON, a=weights[0], b=weights[1], tol=1e-5)


def reference(x, y, a, b, epsilon, z, scale=1.0):
    """E(z) in float64, cost `scale` |x - y|^2."""
    C = scale * oracles.squared(x, y)
    _, g, _ = oracles.sinkhorn_float64(C, a, b, epsilon)
    with np.errstate(divide="ignore"):
        logits = np.log(b) + (g - scale * oracles.squared(z, y)) / epsilon
    return softmax(logits, axis=1) @ np.asarray(y, np.float64)


# ---------------------------------------------------------------- oracle


def test_oracle_float64_with_weights(clouds, weights, solved):
    want = reference(clouds[0], clouds[1], *weights, EPSILON, clouds[2])
    np.testing.assert_allclose(entropic_map(solved, clouds[2]), want, atol=2e-4)


def test_oracle_half_cost_and_dot_cost_are_the_same_map_at_half_epsilon(clouds, weights, solved):
    x, y, z = clouds
    want = entropic_map(solved, z)
    halved = reference(x, y, *weights, EPSILON / 2, z, scale=0.5)
    np.testing.assert_allclose(want, halved, atol=2e-4)
    dot = sinkhorn(x, y, epsilon=EPSILON / 2, a=weights[0], b=weights[1], cost="dot", tol=1e-5)
    np.testing.assert_allclose(entropic_map(dot, z), want, atol=2e-4)


def test_oracle_gaussians_on_a_line():
    s, t, epsilon = 1.0, 0.6, 1.0
    grid = np.linspace(-5, 5, 121)
    a, b = (np.exp(-0.5 * grid**2 / v**2) for v in (s, t))
    x = jnp.asarray(grid[:, None], jnp.float32)
    r = sinkhorn(x, x, epsilon=epsilon, a=a / a.sum(), b=b / b.sum(), tol=1e-4)
    covariance = oracles.gaussian_entropic(s, t, epsilon)[0]
    bulk = jnp.linspace(-2, 2, 9)[:, None]
    np.testing.assert_allclose(entropic_map(r, bulk), covariance / s**2 * bulk, atol=5e-3)


def test_oracle_in_the_sample_it_is_the_mean_of_a_row_of_the_plan(clouds, weights, solved):
    P = oracles.plan_float64(solved, oracles.squared(*clouds[:2]))
    rows = P.sum(axis=1, keepdims=True)
    kept = weights[0] > 0
    want = (P @ np.asarray(clouds[1], np.float64))[kept] / rows[kept]
    np.testing.assert_allclose(entropic_map(solved, clouds[0])[kept], want, atol=1e-4)


def test_oracle_recovery_reads_the_plan(clouds, solved):
    j = np.random.default_rng(2).integers(5, 30, size=24)
    P, a = np.asarray(solved.plan(), np.float64), np.asarray(solved.a, np.float64)
    mass, kept = P[np.arange(24), j], a > 0
    got = recovery(solved, jnp.asarray(j))
    np.testing.assert_allclose(got.trace, mass.sum(), rtol=1e-4)
    kl = np.sum(a[kept] * np.log(a[kept] / mass[kept]))
    np.testing.assert_allclose(got.kl, kl, rtol=1e-4)


def test_oracle_recovery_of_a_permutation(clouds):
    y = clouds[1]
    order = jax.random.permutation(jax.random.key(0), 30)[:24]
    r = sinkhorn(y[order], y, epsilon=0.005, b=jnp.zeros(30).at[order].set(1 / 24))
    found, missed = recovery(r, order), recovery(r, jnp.roll(order, 1))
    np.testing.assert_allclose((found.trace, found.kl), (1, 0), atol=1e-2)
    assert missed.trace < 0.01 and 10 < missed.kl < jnp.inf


# ---------------------------------------------------------------- invariant


@settings(max_examples=10, deadline=None)
@given(epsilon=st.floats(0.05, 50), shift=st.floats(-5, 5))
def test_invariant_moving_both_clouds_and_staying_in_the_box(clouds, epsilon, shift):
    x, y, z = clouds
    r = sinkhorn(x, y, epsilon=epsilon, max_steps=3_000)
    moved = sinkhorn(x + shift, y + shift, epsilon=epsilon, max_steps=3_000)
    E = entropic_map(r, z)
    np.testing.assert_allclose(entropic_map(moved, z + shift), E + shift, atol=2e-2)
    assert jnp.all((E > y.min(0) - 1e-4) & (E < y.max(0) + 1e-4))


def test_invariant_blocks_change_nothing(clouds, solved):
    z = clouds[2]
    np.testing.assert_allclose(entropic_map(solved, z, block=4), entropic_map(solved, z), atol=1e-6)


def test_invariant_a_huge_epsilon_collapses_to_the_weighted_mean(clouds, weights):
    x, y, z = clouds
    r = sinkhorn(x, y, epsilon=1e5, b=weights[1])
    mean = jnp.asarray(weights[1] @ np.asarray(y, np.float64), jnp.float32)
    np.testing.assert_allclose(entropic_map(r, z), jnp.broadcast_to(mean, z.shape), atol=1e-3)


def test_invariant_default_epsilon_grows_with_the_distance_and_the_scale(clouds):
    x, y, _ = clouds
    C = oracles.squared(x, y)
    np.testing.assert_allclose(default_epsilon(x, y), C.mean() / 20, rtol=1e-5)
    far = default_epsilon(x, y + jnp.array([100.0, 0, 0]))
    assert far > 400 and np.isclose(default_epsilon(3 * x, 3 * y), 9 * C.mean() / 20, rtol=1e-4)


# ---------------------------------------------------------------- gradient


def test_gradient_in_z_is_a_covariance(clouds, weights, solved):
    z = clouds[2][0]
    J = jax.jacobian(lambda z: entropic_map(solved, z[None])[0])(z)
    y, g = (np.asarray(v, np.float64) for v in (solved.y, solved.g))
    with np.errstate(divide="ignore"):
        p = softmax(np.log(weights[1]) + (g - oracles.squared(z[None], y)[0]) / EPSILON)
    centred = y - p @ y
    np.testing.assert_allclose(J, 2 / EPSILON * (centred.T * p) @ centred, atol=1e-3)
    np.testing.assert_allclose(J, J.T, atol=1e-4)  # the gradient of a convex function
    assert np.linalg.eigvalsh(J).min() > -1e-4


# ---------------------------------------------------------------- calibration


def test_oracle_calibration_by_hand(clouds):
    y, held_out = clouds[1][:24], jnp.concatenate([clouds[1][24:], clouds[0] * 0.5 + 1])
    scales = (2.0, 8.0, 64.0)
    got = calibrate_epsilon(y, held_out, scales=scales, tol=1e-5)
    unit = oracles.squared(y, y).mean() / 20
    b = np.full(24, 1 / 24)
    errors = [np.mean(np.sum((reference(y, y, b, b, s * unit, held_out) - held_out) ** 2, axis=1))
              for s in scales]
    np.testing.assert_allclose(got.epsilons, unit * np.array(scales), rtol=1e-5)
    np.testing.assert_allclose(got.errors, errors, rtol=2e-3)
    best = int(np.argmin(errors))
    np.testing.assert_allclose(got.epsilon, unit * scales[best], rtol=1e-5)
    assert bool(got.at_edge) == (best != 1) and not got.status.any()


def test_invariant_calibration_says_when_the_range_is_too_short(clouds):
    y, held_out = clouds[1][:24], clouds[1][24:]
    edge = calibrate_epsilon(y, held_out, scales=(64.0, 16.0, 256.0))
    assert edge.at_edge and jnp.all(jnp.diff(edge.epsilons) > 0)
    assert edge.epsilon == edge.epsilons[0]
    inside = calibrate_epsilon(y, held_out, scales=(0.001, 1.0, 256.0))
    assert not inside.at_edge and inside.epsilon == inside.epsilons[1]


# ---------------------------------------------------------------- failure


def test_failure_another_cost_has_another_map(clouds):
    from otlab.core.costs import manhattan

    r = sinkhorn(*clouds[:2], epsilon=EPSILON, cost=manhattan, max_steps=3)
    with pytest.raises(ValueError, match="sqeuclidean"):
        entropic_map(r, clouds[2])


@pytest.mark.parametrize("shape", [(3,), (4, 2), (2, 2, 3)])
def test_failure_points_of_another_shape(solved, shape):
    with pytest.raises(ValueError, match=r"shape \(k, 3\)"):
        entropic_map(solved, jnp.zeros(shape))


def test_failure_nan_in_the_target_is_refused(clouds):
    x, y, _ = clouds
    with pytest.raises(ValueError, match="NaN"):
        calibrate_epsilon(y.at[3, 0].set(jnp.nan), x)


def test_failure_partners_that_do_not_fit(solved):
    with pytest.raises(ValueError, match="24 sources and 30 targets"):
        recovery(solved)
    with pytest.raises(ValueError, match="whole numbers"):
        recovery(solved, jnp.zeros(24))
    with pytest.raises(ValueError, match=r"shape \(24,\)"):
        recovery(solved, jnp.zeros(5, jnp.int32))
