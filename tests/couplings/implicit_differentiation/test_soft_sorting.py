"""Soft ranks and soft sorted values against argsort, their invariances and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.couplings.implicit_differentiation.soft_sorting import soft_rank, soft_sort

N = 12
rank = jax.jit(lambda v, e: soft_rank(v, epsilon=e, tol=1e-4, max_steps=20_000))
order = jax.jit(lambda v, e: soft_sort(v, epsilon=e, tol=1e-4, max_steps=20_000))
numbers = st.lists(st.integers(-50, 50), min_size=N, max_size=N, unique=True)


def spaced(seed=0):
    """Distinct numbers, no two closer than 0.8 of a rung."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.permutation(N) + rng.uniform(0, 0.2, N), jnp.float32)


def test_oracle_small_epsilon_sorts():
    v = spaced()
    np.testing.assert_allclose(rank(v, 3e-3), np.argsort(np.argsort(v)), atol=0.1)
    np.testing.assert_allclose(order(v, 3e-3), np.sort(v), atol=0.15)


def test_oracle_large_epsilon_forgets():
    v = spaced()
    np.testing.assert_allclose(rank(v, 1e3), (N - 1) / 2, atol=0.05)
    np.testing.assert_allclose(order(v, 1e3), v.mean(), atol=0.05)


@settings(max_examples=25, deadline=None)
@given(numbers, st.sampled_from([0.03, 0.3, 3.0]))
def test_invariant_order_mean_shift_and_scale(values, epsilon):
    v = jnp.asarray(values, jnp.float32)
    r, s = rank(v, epsilon), order(v, epsilon)
    assert (np.diff(np.asarray(r)[np.argsort(values)]) > -1e-3).all()
    assert (np.diff(s) > -1e-3 * (1 + np.ptp(values))).all()
    assert abs(r.mean() - (N - 1) / 2) < 1e-2
    assert abs(s.mean() - v.mean()) < 1e-2 * (1 + np.ptp(values))
    np.testing.assert_allclose(rank(3 * v - 7, epsilon), r, atol=2e-2)


def test_invariant_fewer_rungs_and_streaming():
    v = spaced()
    few = jax.jit(lambda v: soft_sort(v, epsilon=1e-2, m=3, block=5, max_steps=20_000))(v)
    np.testing.assert_allclose(few, np.sort(v).reshape(3, 4).mean(1), atol=0.3)


def test_gradient_finite_differences(float64):
    v = jnp.asarray(spaced(), jnp.float64)
    w = jnp.asarray(np.random.default_rng(1).normal(size=N))
    how = dict(epsilon=0.1, tol=1e-12, max_steps=20_000)

    @jax.jit
    def total(v):
        return w @ soft_rank(v, **how) + v @ soft_sort(v, **how)

    want = [(total(v + e) - total(v - e)) / 2e-5 for e in 1e-5 * jnp.eye(N)]
    np.testing.assert_allclose(jax.jit(jax.grad(total))(v), want, atol=1e-6)


def test_failure_names_the_way_out():
    with pytest.raises(ValueError, match="at least two numbers in one axis"):
        soft_rank(jnp.zeros((3, 4)), epsilon=0.1)
    with pytest.raises(ValueError, match="at least two numbers"):
        soft_sort(jnp.zeros(1), epsilon=0.1)
    with pytest.raises(ValueError, match="rungs m >= 2"):
        soft_sort(spaced(), epsilon=0.1, m=1)
    with pytest.raises(ValueError, match="finite epsilon > 0"):
        soft_rank(spaced(), epsilon=0.0)
    with pytest.raises(ValueError, match="finite points"):
        soft_rank(spaced().at[3].set(jnp.nan), epsilon=0.1)
