"""Codes as noise: their scale, their freshness, their rotations, and the times of the path."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.flows import normalized_flow_matching as normalized
from otlab.flows.measures import metrics
from otlab.flows.objectives import FlowMatching
from otlab.flows.sampling import sample
from otlab.learning.fit import fit
from otlab.learning.nets.mlp import Velocity


class Scaling(eqx.Module):
    """A teacher in closed form: the code of x is (x - m) / s, of coordinates or with a label."""

    m: jax.Array
    s: jax.Array

    def __call__(self, x, label=None):
        z = (x - self.m) / self.s + (0 if label is None else label.astype(x.dtype))
        return z, -jnp.log(self.s).sum()


M, S = jnp.array([1.0, -2.0]), jnp.array([2.0, 0.5])


@pytest.fixture(scope="module")
def data():
    return M + S * jax.random.normal(jax.random.key(1), (4_000, 2))


def test_oracle_report_of_a_known_teacher(data, key):
    report = normalized.code_report(key, Scaling(M, S), data, eta=0.5)
    want = np.sqrt(1 + 0.25 / np.asarray(S) ** 2)
    np.testing.assert_allclose(report.rms, want, rtol=0.05)
    np.testing.assert_allclose(report.sigma, np.sqrt(np.mean(want**2)), rtol=0.05)
    np.testing.assert_allclose(report.mean, 0, atol=0.05)


def test_oracle_calibrated_codes_have_mean_square_one(data, key):
    teacher = normalized.calibrated(key, Scaling(M, 3 * S), data, eta=0.1)
    z = teacher.codes(jax.random.key(9), data)
    assert float((z**2).mean()) == pytest.approx(1, rel=0.05)


def test_invariant_codes_are_fresh_noise_about_the_code_of_their_datum(data, key):
    teacher, x = normalized.Teacher(Scaling(M, S), 0.3), jnp.repeat(data[:3], 85, axis=0)
    z = teacher.codes(key, x)
    for row in data[:3]:
        cloud = np.asarray(z)[np.asarray((x == row).all(1))]
        np.testing.assert_allclose(cloud.std(0), 0.3 / np.asarray(S), rtol=0.3)
        np.testing.assert_allclose(cloud.mean(0), (row - M) / S, atol=0.25)
    assert not np.array_equal(z, teacher.codes(jax.random.key(8), x))


def test_invariant_no_noise_no_cloud(data, key):
    teacher = normalized.Teacher(Scaling(M, S), 0.0)
    codes = normalized.cache_codes(key, teacher, data[:5], draws=3)
    np.testing.assert_array_equal(codes[:, 0], codes[:, 2])
    np.testing.assert_allclose(codes[:, 0], (data[:5] - M) / S, rtol=1e-6)


def test_invariant_cached_codes_belong_to_their_datum(data, key):
    codes = normalized.cache_codes(key, normalized.Teacher(Scaling(M, S), 0.1), data[:7], draws=2)
    assert codes.shape == (7, 2, 2) and not np.array_equal(codes[:, 0], codes[:, 1])
    np.testing.assert_allclose(codes.mean(1), (data[:7] - M) / S, atol=0.5)


def test_gradient_stops_at_the_teacher(data, key):
    def loss(flow):
        z = normalized.Teacher(flow, 0.1).codes(key, data[:16])
        return FlowMatching()(key, lambda t, x: 0 * x, z, data[:16])

    slopes = eqx.filter_grad(loss)(Scaling(M, S))
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(slopes))


def test_invariant_labels_reach_the_teacher(data, key):
    labels = jnp.arange(len(data)) % 4
    z = normalized.Teacher(Scaling(M, S), 0.0).codes(key, data, labels)
    np.testing.assert_array_equal(np.round(np.asarray(z - (data - M) / S)[:, 0]), labels)


@given(st.integers(0, 1_000), st.integers(2, 5))
@settings(max_examples=10, deadline=None)
def test_oracle_procrustes_finds_the_rotation_and_nothing_beats_it(seed, d):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
    x = jnp.float32(rng.normal(size=(60, d)) @ np.diag(1 + rng.random(d)))
    np.testing.assert_allclose(normalized.procrustes(x @ Q, x), Q, atol=2e-4)
    z = jnp.float32(rng.normal(size=(60, d)))
    best = normalized.procrustes(z, x)
    np.testing.assert_allclose(best @ best.T, np.eye(d), atol=1e-4)
    cost = [float(jnp.sum((z @ T.T - x) ** 2)) for T in (best, jnp.float32(Q), jnp.eye(d))]
    assert cost[0] <= min(cost[1:]) + 1e-3


def test_invariant_a_turn_leaves_the_law_of_codes_alone(data, key):
    turn = jnp.array([[0.0, -1.0], [1.0, 0.0]])
    plain, turned = (normalized.Teacher(Scaling(M, S), 0.1, turn=q).codes(key, data)
                     for q in (None, turn))
    np.testing.assert_allclose(turned, plain @ turn.T, atol=1e-6)
    np.testing.assert_allclose((turned**2).sum(1), (plain**2).sum(1), rtol=1e-4)


def test_oracle_grid_is_the_square_of_the_even_one():
    t = np.asarray(normalized.squared_grid(4))
    np.testing.assert_allclose(1 - t, np.array([1, 0.75, 0.5, 0.25, 0]) ** 2, atol=1e-7)
    assert (np.diff(np.diff(t)) < 0).all()


@given(st.floats(0, 3))
@settings(max_examples=20, deadline=None)
def test_oracle_noise_of_the_input_is_a_time_of_the_path(eta):
    t = normalized.noise_time(eta)
    assert 1 - t == pytest.approx(eta / (1 + eta), abs=1e-12)
    assert (1 - t) / t == pytest.approx(eta, abs=1e-9)   # (1 - t) z + t x is t (x + eta z)


def test_oracle_a_student_of_a_gaussian_teacher_needs_one_step(data, key):
    # Codes (x - m) / s are the optimal pairs: the flow is straight and one Euler step is enough.
    teacher = normalized.Teacher(Scaling(M, S), 0.02)

    def pairs(key):
        rows = jax.random.randint(key, (256,), 0, len(data))
        return teacher.codes(key, data[rows]), data[rows]

    model = fit(key, Velocity(2, 32, 2, key=key), pairs, steps=800, batch=256, rate=1e-2,
                objective=FlowMatching()).model
    x0 = jax.random.normal(jax.random.key(5), (2_000, 2))
    one = sample(model, x0, steps=1)
    assert float(metrics.reconstruction(one, M + S * x0)) < 0.05
    grid = sample(model, x0, times=normalized.squared_grid(4), method="heun")
    assert float(metrics.reconstruction(grid, M + S * x0)) < 0.05
    assert float(metrics.curvature(model, x0).kappa) < 0.05


def test_failure_sentences(data, key):
    teacher = normalized.Teacher(Scaling(M, S), 0.1)
    with pytest.raises(ValueError, match="eta must be zero or more; got -0.1"):
        normalized.Teacher(Scaling(M, S), -0.1)
    with pytest.raises(ValueError, match="sigma must be positive; got 0"):
        normalized.Teacher(Scaling(M, S), 0.1, 0.0)
    with pytest.raises(ValueError, match="code holds NaN.*lower learning rate"):
        normalized.code_report(key, Scaling(M, 0 * S), data * 0 + M, eta=0.0)
    with pytest.raises(ValueError, match="paired rows; got \\(4, 2\\) and \\(3, 2\\)"):
        normalized.procrustes(data[:4], data[:3])
    with pytest.raises(ValueError, match="draws must be a whole number"):
        normalized.cache_codes(key, teacher, data, draws=0)
