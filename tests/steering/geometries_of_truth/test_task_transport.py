"""Maps between tasks, and what they can and cannot repair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.steering.geometries_of_truth import task_transport as tr
from otlab.steering.geometries_of_truth.planted_truth import Planted
from otlab.steering.geometries_of_truth.probe_geometry import (
    newton_probe,
    off_diagonal,
    standardised,
)


def planted(**options):
    model = Planted(d=12, gap=4.0, spectrum=4.0, **options)
    train, test = standardised(model.draw(400, 0), model.draw(400, 1), "joint")
    return train, test, {t: newton_probe(z, y, C=0.1) for t, (z, y) in train.items()}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99))
def test_oracle_gaussian_map_carries_moments(seed):
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(rng.normal(size=(5, 5)))[0] * [0.5, 0.8, 1.0, 2.0, 3.0]
    a, b = rng.normal(size=(300, 5)) @ mix, rng.normal(size=(200, 5)) + 3
    moved = tr.gaussian_map(a, b, shrink=1e-6)(a)
    np.testing.assert_allclose(moved.mean(0), b.mean(0), atol=1e-6)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(b.T), atol=1e-2)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99))
def test_oracle_column_maps(seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(200, 3))
    b = a * [2.0, 0.5, 1.0] + [1.0, -1.0, 0.0]
    for how in ("scale", "AcT"):
        np.testing.assert_allclose(tr.carry(a, b, how)(a), b, atol=1e-4)
    np.testing.assert_allclose(tr.carry(a, b, "centre")(a).mean(0), b.mean(0), atol=1e-5)
    assert tr.carry(a, b, "none")(a) is a


def test_invariant_a_shift_repairs_no_area():
    train, test, probes = planted(c=0.3)
    none = tr.repaired_transfer(train, test, probes, "none")
    np.testing.assert_allclose(tr.repaired_transfer(train, test, probes, "centre"), none, atol=2e-3)


def test_oracle_a_change_of_scale_is_repaired_by_scales():
    train, test, probes = planted(c=1.0, scales=1.2, tasks=3)
    mean = {how: off_diagonal(tr.repaired_transfer(train, test, probes, how)).mean()
            for how in ("none", "Gaussian")}
    assert mean["Gaussian"] > 0.5


def test_invariant_no_blind_map_knows_which_way_is_true():
    """Swap true and false in one task: activations are the same, so every map is, and AUROC
    becomes one minus itself. A few labels know."""
    train, test, probes = planted(c=1.0, scales=0.0, tasks=2)
    names = list(train)
    flipped = [data | {names[1]: (data[names[1]][0], 1 - data[names[1]][1])}
               for data in (train, test)]
    for how in ("AcT", "Gaussian"):
        A = tr.repaired_transfer(train, test, probes, how)
        B = tr.repaired_transfer(*flipped, probes, how)
        assert A[0, 1] > 0.9 and B[0, 1] == pytest.approx(1 - A[0, 1])
    assert tr.signed_transfer(*flipped, probes, k=20)[0, 1] > 0.9


def test_oracle_few_labels_grow():
    train, test, _ = planted(c=0.0)
    few, many = (tr.few_labels(train, test, k=k, C=0.1).mean() for k in (4, 200))
    assert few < many - 0.05


def test_failure_sentences():
    train, _, _ = planted()
    z = train["task 1"][0]
    with pytest.raises(ValueError, match="how must be one of none"):
        tr.carry(z, z, "bures")
    with pytest.raises(ValueError, match="shrink"):
        tr.gaussian_map(z, z, shrink=0.0)
    with pytest.raises(ValueError, match="rarer class"):
        tr.labelled(train, 1_000, 0)
