"""Probes on planted directions, and the geometry between them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.steering.probes import (
    Probe,
    area_under_curve,
    chance_jaccard,
    cosines,
    disattenuated,
    explained_by_others,
    fit_probe,
    jaccard,
    moments,
    transfer_matrix,
)


def planted(direction, n=800, seed=0, gap=3.0, offset=0.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    direction = np.asarray(direction, float) / np.linalg.norm(direction)
    return offset + rng.normal(size=(n, len(direction))) + gap * (y - 0.5)[:, None] * direction, y


def test_oracle_the_planted_direction_is_found():
    direction = np.array([1.0, -2.0, 0, 0, 0.5, 0])
    h, y = planted(direction, 4_000)
    probe = fit_probe(h, y, C=1.0)
    assert cosines([probe.direction, direction])[0, 1] > 0.98
    assert area_under_curve(probe(h), y) > 0.95
    sparse = fit_probe(h, y, C=0.01, penalty="l1")
    assert set(np.flatnonzero(sparse.support)) <= {0, 1, 4} and sparse.support[1]


def test_oracle_area_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=50), rng.integers(0, 2, 50)
    pairs = s[y == 1][:, None] > s[y == 0][None]
    assert area_under_curve(s, y) == pytest.approx(pairs.mean())
    assert area_under_curve(3 * s + 7, y) == pytest.approx(pairs.mean())
    assert area_under_curve([1, 1, 2], [1, 0, 0]) == 0.25           # a tie is half in order
    with pytest.raises(ValueError, match="both of them"):
        area_under_curve(s, np.ones(50))


def test_oracle_orthogonal_tasks_do_not_transfer_and_opposite_ones_invert():
    tasks = {"a": [1, 0, 0, 0], "b": [0, 1, 0, 0], "not a": [-1, 0, 0, 0]}
    probes = {name: fit_probe(*planted(w, seed=1), C=1.0) for name, w in tasks.items()}
    tests = {name: planted(w, seed=2) for name, w in tasks.items()}
    A = transfer_matrix(probes, tests)
    assert (np.diag(A) > 0.9).all() and abs(A[0, 1] - 0.5) < 0.1 and A[0, 2] < 0.1


def test_oracle_rows_are_the_tasks_that_were_learned_and_columns_those_that_test():
    probes = {name: Probe(np.array(w, float), 0.0, np.zeros(2), np.ones(2))
              for name, w in {"x": [1, 0], "y": [0, 1], "not x": [-1, 0]}.items()}
    tests = {"along x": (np.array([[0.0, 5], [1, -5], [2, 1], [3, -1]]), np.array([0, 0, 1, 1])),
             "along y": (np.array([[2.0, 0], [1, 1], [3, 2], [2, 3]]), np.array([0, 0, 1, 1]))}
    # Pairs (true, false) in order, ties as halves: by x, by y, and by x the other way round.
    np.testing.assert_allclose(transfer_matrix(probes, tests),
                               [[1, 3.5 / 4], [2 / 4, 1], [0, 0.5 / 4]])


def test_invariant_shared_moments_make_probes_comparable():
    h, y = planted([1, 1, 0], offset=5.0)
    shared = moments(h)
    a = fit_probe(h, y, C=1.0, standard=shared)
    b = fit_probe(h, y, C=1.0)
    np.testing.assert_allclose(a.weight, b.weight)
    np.testing.assert_allclose(moments(np.ones((4, 2)))[1], 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(2, 5))
def test_invariant_overlaps(seed, T):
    s = np.random.default_rng(seed).random((T, 30)) < 0.4
    J = jaccard(s)
    np.testing.assert_allclose(J, J.T)
    assert ((J >= 0) & (J <= 1)).all()
    for t in range(T):
        for u in range(T):
            union = (s[t] | s[u]).sum()
            assert J[t, u] == pytest.approx((s[t] & s[u]).sum() / union if union else 0)


def test_oracle_chance_overlap_is_what_random_supports_show():
    rng = np.random.default_rng(0)
    d, size = 200, 40
    draws = []
    for _ in range(400):
        s = np.zeros((2, d), bool)
        for row in s:
            row[rng.choice(d, size, replace=False)] = True
        draws.append((s[0] & s[1]).sum())
    assert np.mean(draws) == pytest.approx(size * size / d, rel=0.05)
    assert chance_jaccard(s)[0, 1] == pytest.approx(8 / 72)


def test_oracle_span_and_attenuation():
    w = np.array([[1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0], [0, 0, 1.0]])
    np.testing.assert_allclose(explained_by_others(w), [1, 1, 1, 0], atol=1e-12)
    rho = disattenuated(np.full((2, 2), 0.3), [0.36, 0.25])
    assert rho[0, 1] == pytest.approx(0.3 / (0.6 * 0.5))
    assert np.isnan(disattenuated(np.eye(2), [-0.1, 0.5])[0, 1])


def test_failure_sentences():
    h, y = planted([1, 0])
    for bad, words in [((h, y[:3]), "h .n, d. and y"), ((h * np.nan, y), "NaN"),
                       ((h, np.zeros_like(y)), "both of them")]:
        with pytest.raises(ValueError, match=words):
            fit_probe(*bad, C=1.0)
    with pytest.raises(ValueError, match="C must"):
        fit_probe(h, y, C=0)
    with pytest.raises(ValueError, match="no weight at all"):
        cosines([[0, 0], [1, 0]])
