"""Metrics against closed forms and plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from flow_fields import Straight, rotation
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from otlab.flows.measures.metrics import (
    curvature,
    energy_distance,
    frechet_distance,
    reconstruction,
    total_variance,
)
from otlab.flows.sampling import sample


@pytest.fixture(scope="module")
def clouds():
    key_x, key_y = jax.random.split(jax.random.key(7))
    return jax.random.normal(key_x, (40, 3)), 2 + jax.random.normal(key_y, (25, 3))


def test_oracle_curvature_of_a_turn():
    x0, angle = jnp.array([[1.0, 0.0], [0.0, 3.0]]), 1.0
    # Speed angle |x|, chord 2 |x| sin(angle / 2): kappa is the mean of speed^2 - chord^2.
    exact = 5 * (angle**2 - 4 * np.sin(angle / 2) ** 2)
    found = curvature(rotation(angle), x0, steps=4_000)
    assert float(found.kappa) == pytest.approx(exact, rel=1e-2)


def test_oracle_curvature_is_the_definition_on_the_euler_grid():
    x0 = np.array([[1.0, 0.5], [-2.0, 1.0], [0.3, 0.3]])
    angle, steps = 2.0, 7
    J = np.array([[0, -angle], [angle, 0]])
    x, v = x0, []
    for _ in range(steps):
        v.append(x @ J.T)
        x = x + v[-1] / steps
    exact = np.mean([((v_k - (x - x0)) ** 2).sum(1) for v_k in v])
    found = curvature(rotation(angle), jnp.asarray(x0, jnp.float32), steps=steps)
    assert float(found.kappa) == pytest.approx(exact, rel=1e-4)
    assert float(found.straightness) == pytest.approx(exact / ((x - x0)**2).sum(1).mean(), rel=1e-4)
    np.testing.assert_allclose(found.x1, x, rtol=1e-4)


def test_invariant_straight_flows_have_no_curvature(clouds):
    field = Straight(jnp.array([100.0, 0.0, 0.0]), jnp.float32(0.5))
    found = curvature(field, clouds[0])
    assert found.kappa < 1e-5                       # though speeds squared are 10,000
    np.testing.assert_allclose(found.x1, sample(field, clouds[0], steps=50), rtol=1e-5)


def test_oracle_reconstruction_and_variance(clouds):
    x, _ = clouds
    assert float(reconstruction(x, x + jnp.array([3.0, 0.0, 4.0]))) == pytest.approx(25, rel=1e-5)
    assert float(total_variance(x)) == pytest.approx(np.var(np.asarray(x), axis=0).sum(), rel=1e-5)


@pytest.mark.parametrize("unbiased", [True, False])
def test_oracle_energy_distance_in_numpy(clouds, unbiased):
    x, y = (np.asarray(z, np.float64) for z in clouds)
    n, m = (len(x), len(y))
    scale = (n * (n - 1), m * (m - 1)) if unbiased else (n * n, m * m)
    exact = 2 * cdist(x, y).mean() - cdist(x, x).sum() / scale[0] - cdist(y, y).sum() / scale[1]
    assert float(energy_distance(*clouds, unbiased=unbiased)) == pytest.approx(exact, abs=1e-4)


def test_invariant_energy_distance_ignores_blocks_order_and_place(clouds):
    x, y = clouds
    value = float(energy_distance(x, y))
    assert float(energy_distance(y, x)) == pytest.approx(value, abs=1e-4)
    assert float(energy_distance(x + 1_000, y + 1_000)) == pytest.approx(value, abs=2e-3)
    assert float(energy_distance(x, y, block=7)) == pytest.approx(value, abs=1e-4)


def test_invariant_equal_laws_score_zero_on_average():
    def one(key):
        x = jax.random.normal(key, (80, 2))
        return energy_distance(x[:50], x[50:]), energy_distance(x[:50], x[50:], unbiased=False)

    free, kept = jax.vmap(one)(jax.random.split(jax.random.key(1), 200))
    error = float(free.std() / 200**0.5)
    assert abs(float(free.mean())) < 4 * error < 0.02
    assert float(kept.min()) > 0
    # E|X - X'| = sqrt(pi) in the plane: each cloud leaves that much over its size.
    assert float(kept.mean()) == pytest.approx(np.pi**0.5 * (1 / 50 + 1 / 30), abs=4 * error)


def test_gradient_of_the_energy_distance(clouds, float64):
    x, y = (jnp.asarray(np.asarray(z), jnp.float64) for z in clouds)
    slopes = jax.grad(energy_distance)(x, y)
    e = jnp.zeros_like(x).at[4, 1].set(1e-5)
    finite = (energy_distance(x + e, y) - energy_distance(x - e, y)) / 2e-5
    assert float(slopes[4, 1]) == pytest.approx(float(finite), rel=1e-5)
    assert jnp.isfinite(jax.grad(energy_distance)(x, x)).all()        # the root at zero


def test_oracle_frechet_is_the_bures_distance(clouds):
    x, y = (np.asarray(z, np.float64) for z in clouds)
    exact = ot.gaussian.bures_wasserstein_distance(
        x.mean(0), y.mean(0), np.cov(x.T), np.cov(y.T)) ** 2
    assert frechet_distance(*clouds) == pytest.approx(exact, rel=1e-5)
    cross = np.trace(sqrtm(np.cov(x.T) @ np.cov(y.T)).real)
    by_sqrtm = (((x.mean(0) - y.mean(0))**2).sum() + np.trace(np.cov(x.T)) + np.trace(np.cov(y.T))
                - 2 * cross)
    assert frechet_distance(*clouds) == pytest.approx(by_sqrtm, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 30), shift=st.floats(-50, 50),
       shrinkage=st.floats(0, 0.9))
def test_invariant_frechet_of_a_shift_is_its_square(seed, n, shift, shrinkage):
    x = np.random.default_rng(seed).normal(size=(n, 12))          # often fewer points than features
    distance = frechet_distance(x, x + shift, shrinkage=shrinkage)
    assert distance == pytest.approx(12 * shift**2, rel=1e-6, abs=1e-6)


def test_oracle_frechet_shrinkage_by_hand():
    x = np.array([[-1.0, 0.0], [1.0, 0.0]])                       # covariance diag(2, 0)
    y = np.array([[0.0, -1.0], [0.0, 1.0]])                       # covariance diag(0, 2)
    assert frechet_distance(x, y) == pytest.approx(4)
    # Half of it shrunk: diag(1.5, 0.5) and diag(0.5, 1.5).
    exact = 4 - 4 * np.sqrt(0.75)
    assert frechet_distance(x, y, shrinkage=0.5) == pytest.approx(exact)


def test_failure_sentences(clouds):
    x, y = clouds
    with pytest.raises(ValueError, match="points of one shape"):
        energy_distance(x, y[:, :2])
    with pytest.raises(ValueError, match="unbiased=False"):
        energy_distance(x[:1], y)
    with pytest.raises(ValueError, match="x holds NaN.*diverge"):
        energy_distance(x * jnp.nan, y)
    with pytest.raises(ValueError, match="at least one point"):
        curvature(rotation(1.0), x[:0])
    with pytest.raises(ValueError, match="steps must"):
        curvature(rotation(1.0), x, steps=0)
    with pytest.raises(ValueError, match="row by row"):
        reconstruction(x, y)
    with pytest.raises(ValueError, match="shrinkage"):
        frechet_distance(x, y, shrinkage=1.0)
    with pytest.raises(ValueError, match="number of features"):
        frechet_distance(x, y[:, :2])
    with pytest.raises(ValueError, match="features_b must be"):
        frechet_distance(x, y[:1])
    with pytest.raises(ValueError, match="features_a holds NaN"):
        frechet_distance(x * jnp.inf, y)
