"""The Sinkhorn divergence against float64, OTT and its own axioms."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.couplings.entropic_ot.divergence import sinkhorn_divergence

N, D = 25, 2  # one shape throughout: each costs a compilation


@pytest.fixture
def x(key):
    return jax.random.normal(key, (N, D))


def test_oracle_divergence_of_three_problems_in_float64(x):
    y, a = 0.5 * x + 1, np.full(N, 1 / N)

    def dual(x, y):
        f, g, _ = oracles.sinkhorn_float64(oracles.squared(x, y), a, a, 0.5)
        return a @ f + a @ g

    ours = sinkhorn_divergence(x, y, epsilon=0.5, tol=1e-5, max_steps=20_000).require_converged()
    expected = dual(x, y) - (dual(x, x) + dual(y, y)) / 2
    np.testing.assert_allclose(ours.value, expected, atol=3e-4)
    assert ours.status == 0 and ours.steps == sum(int(r.steps) for r in ours.results)


def test_invariant_divergence_vanishes_on_equal_clouds_only(x):
    same = sinkhorn_divergence(x, x[::-1], epsilon=0.5, tol=1e-5)
    np.testing.assert_allclose(same.value, 0, atol=1e-4)
    np.testing.assert_allclose(sinkhorn_divergence(x, x + 1, epsilon=0.5, tol=1e-5).value, 2,
                               atol=1e-3)  # a translation by (1, 1) costs 2, at every epsilon


def test_gradient_divergence_matches_finite_differences(float64, x):
    x, y, v = jax.random.normal(jax.random.key(2), (3, N, D))

    def value(x):
        return sinkhorn_divergence(x, y, epsilon=0.5, tol=1e-9, max_steps=50_000).value

    h = 1e-5
    np.testing.assert_allclose(jnp.sum(jax.grad(value)(x) * v),
                               (value(x + h * v) - value(x - h * v)) / (2 * h), rtol=1e-5)


def test_oracle_ott(x):
    sinkdiv = pytest.importorskip("ott.tools.sinkhorn_divergence", exc_type=ImportError)
    y = 0.5 * x + 1
    with jax.numpy_dtype_promotion("standard"):
        value = sinkdiv.sinkdiv(x, y, epsilon=0.5, solve_kwargs=dict(threshold=1e-5))[0]
    ours = sinkhorn_divergence(x, y, epsilon=0.5, tol=1e-5).require_converged()
    np.testing.assert_allclose(ours.value, value, atol=5e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), power=st.floats(-1.5, 1.5), equal=st.booleans())
def test_property_positive_and_zero_only_at_equality(seed, power, equal):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, N, D)).astype(np.float32)
    a, b = rng.dirichlet(np.ones(N), size=2)
    if equal:
        y, b = x[::-1], a[::-1]
    r = sinkhorn_divergence(x, y, epsilon=10**power, a=a, b=b, tol=1e-4, max_steps=20_000)
    r.require_converged()
    assert abs(float(r.value)) < 2e-3 if equal else float(r.value) > 2e-3


def test_failure_no_convergence_is_said(x):
    with pytest.raises(RuntimeError, match="max_steps"):
        sinkhorn_divergence(x, x + 1, epsilon=1e-2, max_steps=2).require_converged()


def test_failure_bad_input_gets_a_sentence(x):
    with pytest.raises(ValueError, match="epsilon > 0"):
        sinkhorn_divergence(x, x, epsilon=0)
