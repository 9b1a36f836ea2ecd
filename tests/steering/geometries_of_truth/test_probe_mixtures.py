"""Pools, gates and plain baselines on planted tasks."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from otlab.steering.geometries_of_truth import probe_mixtures as pm
from otlab.steering.geometries_of_truth.planted_truth import Planted
from otlab.steering.geometries_of_truth.probe_geometry import newton_probe, standardised


def pair(c, n=300, **options):
    model = Planted(c=c, gap=3.0, scales=0.0, spectrum=4.0, d=32, **options)
    return standardised(model.draw(n, 0), model.draw(n, 1), "joint")


def test_oracle_mixtures_rescue_shared_directions_and_no_others():
    shared, apart = pm.leave_one_out(*pair(1.0)), pm.leave_one_out(*pair(0.0))
    for key in ("pooled", "gated", "best foreign"):
        assert (shared[key] > 0.75).all(), key
    for key in ("pooled", "gated"):
        assert (apart["in task"] > apart[key] + 0.15).all(), key


def test_invariant_shares_sum_to_one_and_the_gate_learns():
    train, _ = pair(0.0)
    probes = {t: newton_probe(z, y, C=0.01) for t, (z, y) in train.items()}
    mix = pm.gated_mixture(train, probes)
    z, y = (np.concatenate(p) for p in zip(*train.values(), strict=True))
    np.testing.assert_allclose(mix.shares(z).sum(1), 1)
    flat = pm.Mixture(mix.probes, np.zeros_like(mix.G))

    def loss(m):
        return np.logaddexp(0, -(2 * y - 1) * m(z)).mean()

    assert loss(mix) < loss(flat) - 0.02


def test_gradient_of_the_gate_vanishes():
    model = Planted(tasks=2, d=4, gap=3.0)
    train = standardised(model.draw(60, 0), model.draw(10, 1), "joint")[0]
    probes = {t: newton_probe(z, y, C=0.1) for t, (z, y) in train.items()}
    mix = pm.gated_mixture(train, probes)
    z, y = (np.concatenate(p) for p in zip(*train.values(), strict=True))

    def loss(flat):
        m = pm.Mixture(mix.probes, flat.reshape(mix.G.shape))
        return np.logaddexp(0, -(2 * y - 1) * m(z)).mean() + flat @ flat / (2 * len(y))

    assert np.abs(approx_fprime(mix.G.ravel(), loss, 1e-6)).max() < 1e-3


def test_oracle_text_and_length():
    texts = ["a is red.", "b is blue.", "c is red.", "d is blue."] * 5
    y = np.array([1, 0, 1, 0] * 5)
    assert (pm.text_scores(texts, y, ["e is red.", "e is blue."]) > 0).tolist() == [True, False]
    sizes = np.c_[np.where(y == 1, 9.0, 4.0), np.ones(20)]
    assert (pm.length_scores(sizes, y, [[9, 1], [4, 1]]) > 0).tolist() == [True, False]


def test_oracle_clusters():
    train = Planted(apart=5.0).draw(100, 0)
    assert pm.task_classifier_accuracy(train, Planted(apart=5.0).draw(50, 1)) > 0.99
    by_task, by_truth = pm.silhouettes(train)
    assert by_task > 0.2 > by_truth
    together = Planted(apart=0.0).draw(100, 0)
    assert pm.task_classifier_accuracy(together, Planted(apart=0.0).draw(50, 1)) < 0.6


def test_failure_one_class_only():
    z, _ = pair(0.5)[0]["task 1"]
    with pytest.raises(ValueError, match="both of them"):
        pm.pooled_probe({"a": (z, np.ones(len(z)))})
