"""Newton's probe, the matrices, and the planted model behind them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.steering.geometries_of_truth import probe_geometry as pg
from otlab.steering.geometries_of_truth.planted_truth import Planted
from otlab.steering.probes import fit_probe


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.sampled_from([(30, 50), (80, 10)]),
       st.sampled_from([1e-3, 0.1, 3.0]))
def test_oracle_newton_is_what_scikit_learn_finds(seed, shape, C):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=shape)
    y = (z[:, 0] + rng.normal(size=shape[0]) > 0.5).astype(int)
    if len(np.unique(y)) < 2:
        return
    unit = np.zeros(shape[1]), np.ones(shape[1])
    a, b = pg.newton_probe(z, y, C=C), fit_probe(z, y, C=C, standard=unit)
    size = np.linalg.norm(a.weight)
    assert np.linalg.norm(a.weight - b.weight) < 0.02 * size + 1e-4
    assert abs(a.offset - b.offset) < 0.02 * (1 + abs(a.offset))


@pytest.mark.parametrize("shape", [(20, 40), (60, 8)])
def test_gradient_vanishes_at_the_probe(shape):
    rng = np.random.default_rng(0)
    z, y, C = rng.normal(size=shape), (rng.random(shape[0]) < 0.4).astype(int), 0.3
    p = pg.newton_probe(z, y, C=C)
    n = len(y)
    s = C * np.where(y == 1, n / (2 * y.sum()), n / (2 * (n - y.sum())))
    miss = s * (1 / (1 + np.exp(-p(z))) - y)
    np.testing.assert_allclose(p.weight + z.T @ miss, 0, atol=1e-5)
    assert abs(miss.sum()) < 1e-5


def test_oracle_mean_difference_is_blind_to_covariance():
    rng = np.random.default_rng(1)
    loud = np.array([8.0, 1, 1])
    y = np.arange(4_000) % 2
    z = rng.normal(size=(4_000, 3)) @ np.diag(loud) + y[:, None] * np.array([1.0, 1, 0])
    mean, logistic = pg.mean_difference(z, y).weight, pg.newton_probe(z, y, C=1.0).weight
    np.testing.assert_allclose(mean, [1, 1, 0], atol=0.6)
    assert logistic[0] < 0.1 * logistic[1]          # Sigma^{-1} Delta: the loud neuron counts less


def test_oracle_planted_directions_are_found_when_samples_abound():
    tasks = [Planted(c=c, scales=0.0, spectrum=1.0, gap=4.0, d=16, tasks=3) for c in (0, 0.5, 1)]
    for model in tasks:
        G = pg.geometry(model.draw(4_000, 0), model.draw(1_000, 1), C=1.0)
        assert (np.diag(G.auroc) > 0.95).all() and (G.reliability > 0.9).all()
        np.testing.assert_allclose(pg.off_diagonal(G.rho), model.c, atol=0.12)


def test_invariant_few_samples_look_orthogonal_even_for_one_direction():
    model = Planted(c=1.0, scales=0.0, gap=1.5)
    few = pg.geometry(model.draw(50, 0), model.draw(500, 1), C=1.0)
    many = pg.geometry(model.draw(4_000, 0), model.draw(500, 1), C=1.0)
    assert pg.off_diagonal(few.rho).mean() < 0.5 < 0.8 < pg.off_diagonal(many.rho).mean()
    assert few.reliability.mean() < 0.5 * many.reliability.mean()


def test_invariant_centring_and_scale_change_no_area():
    model = Planted(seed=3)
    train, test = model.draw(200, 0), model.draw(200, 1)
    moved = [{k: (3 * h + 7, y) for k, (h, y) in part.items()} for part in (train, test)]
    for standard in pg.STANDARDS:
        a = pg.geometry(train, test, standard=standard, halves=False)
        b = pg.geometry(*moved, standard=standard, halves=False)
        np.testing.assert_allclose(a.auroc, b.auroc)
        np.testing.assert_allclose(a.rho, b.rho, atol=1e-8)
        assert np.isnan(a.reliability).all()


def test_invariant_supports_grow_with_C_and_chance_is_reported():
    model = Planted(c=0.0)
    train, test = model.draw(300, 0), model.draw(200, 1)
    sizes = []
    for C in (0.01, 0.1):
        G = pg.geometry(train, test, kind="l1", C=C, halves=False)
        sizes.append((G.weights != 0).sum())
        assert G.chance.shape == G.overlap.shape == (4, 4)
    assert 0 < sizes[0] < sizes[1]


def test_invariant_halves_keep_groups_whole():
    groups = np.repeat(np.arange(20), 2)
    rows = pg.half(groups, np.tile([0, 1], 20), seed=4)
    assert rows.sum() == 20 and (rows[::2] == rows[1::2]).all()


def test_oracle_strength_by_cross_validation():
    model = Planted(gap=3.0)
    z, y = pg.standardised(model.draw(200, 0), model.draw(10, 1), "joint")[0]["task 1"]
    best, scores = pg.choose_strength(z, y)
    assert scores[pg.STRENGTHS.index(best)] == scores.max()
    loose, _ = pg.choose_strength(z, y, slack=0.02)
    assert loose <= best


def test_oracle_scores_can_agree_though_weights_do_not():
    rng = np.random.default_rng(5)
    shared = rng.normal(size=(2_000, 1))
    z = np.c_[shared, shared] + 0.05 * rng.normal(size=(2_000, 2))     # two neurons, one signal
    unit = np.zeros(2), np.ones(2)
    probes = {k: pg.Probe(np.array(w), 0.0, *unit) for k, w in
              {"a": [1.0, 0.0], "b": [0.0, 1.0]}.items()}
    R = pg.score_correlations(probes, {"a": (z, None), "b": (z, None)})
    assert pg.safe_cosines([p.weight for p in probes.values()])[0, 1] == 0 and R[0, 1] > 0.99
    np.testing.assert_allclose(np.diag(R), 1)


def test_failure_sentences():
    data = Planted().draw(20, 0)
    with pytest.raises(ValueError, match="standard must be one of joint"):
        pg.geometry(data, data, standard="pooled")
    with pytest.raises(ValueError, match="kind must be one of l2"):
        pg.geometry(data, data, kind="ridge")
    with pytest.raises(ValueError, match="holds both classes"):
        pg.half(np.arange(6), np.array([1, 0, 0, 0, 0, 0]), 0)
    with pytest.raises(ValueError, match="both of them"):
        pg.newton_probe(np.eye(3), np.ones(3), C=1.0)
    with pytest.raises(ValueError, match="fewer tasks than neurons"):
        Planted(tasks=9, d=8)
    assert pg.cosine(np.zeros(3), np.ones(3)) == 0
