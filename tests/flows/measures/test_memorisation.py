"""Nearest points by brute force, and shares that are chance when nothing is memorised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from otlab.flows.measures.memorisation import memorisation, nearest


def clouds(seed, *sizes, d=3):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=(n, d)), jnp.float32) for n in sizes]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_oracle_nearest_by_brute_force(seed):
    x, points = clouds(seed, 20, 30)
    got = nearest(x, points, k=3, block=8)
    table = cdist(x, points)
    np.testing.assert_allclose(got.distance, np.sort(table, 1)[:, :3], rtol=1e-4)
    np.testing.assert_array_equal(got.index, np.argsort(table, 1)[:, :3])


def test_oracle_copies_are_seen_at_distance_zero_far_from_the_origin():
    train, test = (1000 + c for c in clouds(0, 40, 60))
    m = memorisation(train[:10], train, test)
    np.testing.assert_array_equal(m.to_train, 0)
    np.testing.assert_array_equal(m.index, np.arange(10))
    assert m.closer == 1 and m.copies == 1 and float(m.excess) == pytest.approx(1)


@pytest.mark.parametrize("N, M", [(300, 300), (900, 100), (50, 450)])
def test_oracle_fresh_points_are_at_chance(N, M):
    """Whatever the sizes: 4,000 fresh points within five standard deviations of N / (N + M).

    The points share their neighbours, so the spread is taken over ten splits.
    """
    shares = []
    for seed in range(10):
        x, train, test = clouds(seed, 400, N, M)
        m = memorisation(x, train, test)
        shares.append(float(m.excess))
        assert float(m.chance) == pytest.approx(N / (N + M))
    assert abs(np.mean(shares)) < 5 * np.std(shares, ddof=1) / np.sqrt(10)
    assert float(m.copies) < 0.1


def test_invariants_under_motion_blocks_and_relabelling():
    x, train, test = clouds(3, 30, 40, 50)
    base = memorisation(x, train, test)
    turn = jnp.linalg.qr(clouds(4, 3)[0])[0]
    moved = memorisation(2 * x @ turn + 1, 2 * train @ turn + 1, 2 * test @ turn + 1, block=7)
    assert base.closer == moved.closer and base.copies == moved.copies
    np.testing.assert_allclose(moved.to_train, 2 * base.to_train, rtol=1e-3)
    swapped = memorisation(x, test, train)
    assert float(base.closer + swapped.closer) == pytest.approx(1)


def test_a_tie_counts_half():
    points = jnp.array([[0.0], [5.0]])
    m = memorisation(jnp.zeros((4, 1)), points, points)
    assert float(m.closer) == 0.5 and float(m.excess) == 0


def test_invariant_noise_around_training_points_loses_memorisation_as_it_grows():
    train, test = clouds(5, 200, 200)
    noise = jax.random.normal(jax.random.key(0), train.shape)
    shares = [float(memorisation(train + s * noise, train, test).excess) for s in (0.01, 0.3, 3.0)]
    assert shares[0] > 0.95 and shares[0] > shares[1] > shares[2]


def test_images_are_flattened():
    train, test = clouds(1, 12, 12, d=16)
    flat = memorisation(train, train, test)
    square = memorisation(*(c.reshape(-1, 4, 4) for c in (train, train, test)))
    assert flat.closer == square.closer


def test_failure_names_what_arrived():
    x, train = clouds(0, 5, 8)
    with pytest.raises(ValueError, match="k=9 neighbours among 8"):
        nearest(x, train, k=9)
    with pytest.raises(ValueError, match="3 numbers in a row of x and 2"):
        nearest(x, train[:, :2])
    with pytest.raises(ValueError, match="train.*NaN|points holds NaN"):
        memorisation(x, train.at[0, 0].set(jnp.nan), train)
    with pytest.raises(ValueError, match=r"x must hold at least one point.*\(3,\)"):
        nearest(x[0], train)
