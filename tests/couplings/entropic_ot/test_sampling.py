"""Pairs drawn from the plan: right frequencies, one for every source point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from otlab.couplings.entropic_ot.engine import sampling
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn


@pytest.fixture
def result(key):
    x, y = jax.random.normal(key, (2, 6, 2))
    b = np.array([0.3, 0.0, 0.2, 0.3, 0.1, 0.1])
    return sinkhorn(x, y, epsilon=0.7, b=b, tol=1e-4).require_converged()


def chi_square(result, pairs):
    """Sum over rows of the chi-square statistic, and its degrees of freedom."""
    draws = len(pairs)
    expected = np.asarray(result.plan() / result.a[:, None], np.float64) * draws
    counts = np.stack([np.bincount(column, minlength=len(result.y)) for column in pairs.T])
    assert (counts[expected == 0] == 0).all()
    seen = expected > 0
    gap = (counts[seen] - expected[seen]) ** 2 / expected[seen]
    return gap.sum(), seen.sum() - len(expected)


def draw(result, key, draws=20_000):
    keys = jax.random.split(key, draws)
    return np.asarray(jax.vmap(result.sample_pairs)(keys))


def test_oracle_frequencies_follow_the_plan(result, key):
    statistic, freedom = chi_square(result, draw(result, key))
    assert statistic < chi2.ppf(1 - 1e-5, freedom)


def test_oracle_the_frequency_test_can_fail(result, key):
    pairs = draw(result, key)
    statistic, freedom = chi_square(result, np.where(pairs == 3, 0, pairs))
    assert statistic > 2 * chi2.ppf(1 - 1e-5, freedom)


def test_oracle_fine_noise_for_many_columns(result, key, monkeypatch):
    monkeypatch.setattr(sampling, "COARSE", 2)
    sampling._sample_pairs.clear_cache()
    statistic, freedom = chi_square(result, draw(result, key))
    sampling._sample_pairs.clear_cache()
    assert statistic < chi2.ppf(1 - 1e-5, freedom)


def test_oracle_small_epsilon_returns_the_permutation(key):
    x = jax.random.normal(key, (50, 3))
    order = jax.random.permutation(key, 50)
    r = sinkhorn(x, x[order], epsilon=1e-2, cost="sqeuclidean", max_steps=9_000)
    np.testing.assert_array_equal(order[r.require_converged().sample_pairs(key)], jnp.arange(50))


def test_invariant_the_draw_depends_on_the_key_alone(key):
    x, y = jax.random.normal(key, (2, 33, 2))
    r = sinkhorn(x, y, epsilon=1.0)
    first = r.sample_pairs(key)
    assert first.shape == (33,) and first.dtype == jnp.int32
    for block in (7, 1000):  # 7 leaves a rest of 5
        np.testing.assert_array_equal(r.sample_pairs(key, block=block), first)
    assert (first != r.sample_pairs(jax.random.fold_in(key, 1))).any()


def test_invariant_works_inside_jit(result, key):
    inside = jax.jit(lambda r, key: r.sample_pairs(key))(result, key)
    np.testing.assert_array_equal(inside, result.sample_pairs(key))


@pytest.mark.parametrize("block", [0, -3, 2.5, True])
def test_failure_block_is_named(result, key, block):
    with pytest.raises(ValueError, match="whole number of rows"):
        result.sample_pairs(key, block=block)


def test_invariant_the_draw_does_not_depend_on_how_a_size_is_filled_up(key):
    """A draw for 70 columns is the start of one for more; other kinds of keys draw as they can."""
    x, y = jax.random.normal(key, (2, 70, 2))
    r = sinkhorn(x, y, epsilon=1.0)
    for kind in (jax.random.key(5), jax.random.PRNGKey(5), jax.random.key(5, impl="rbg")):
        inside = jax.jit(lambda r, key: r.sample_pairs(key))(r, kind)  # as large as it is
        np.testing.assert_array_equal(r.sample_pairs(kind), inside)
