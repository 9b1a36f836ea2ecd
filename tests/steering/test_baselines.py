"""The baselines are the maps that their papers write down."""

import numpy as np
import pytest
import torch
from tiny_models import tiny

from otlab.language.hooks import activations
from otlab.steering import baselines
from otlab.steering.maps import steer

SOURCE = ["a cat", "the old house.", "in the rain we walk", "so be it", "we sleep"]
TARGET = ["goals, goals", "we won the match", "a kick", "the cup is ours today.", "score"]


@pytest.fixture(scope="module")
def model():
    return tiny()


def test_oracle_shifts_are_differences_of_last_tokens(model):
    names = model.blocks[:2]
    a, b = (activations(model, texts, names, pooling="last") for texts in (SOURCE, TARGET))
    one, many = (baselines.act_add(model, SOURCE[0], TARGET[0], names),
                 baselines.mean_shift(model, SOURCE, TARGET, names))
    for name in names:
        torch.testing.assert_close(one[name].beta, b[name][0] - a[name][0])
        torch.testing.assert_close(many[name].beta, b[name].mean(0) - a[name].mean(0))
        assert bool((many[name].omega == 1).all())
    assert many.tokens == "last"


def test_invariant_the_classifier_shift_points_from_source_to_target(model):
    name = model.blocks[1]
    maps = baselines.probe_shift(model, SOURCE, TARGET, [name])
    a, b = (activations(model, texts, [name], pooling="last")[name] for texts in (SOURCE, TARGET))
    v = maps[name].beta
    assert float((b.mean(0) - a.mean(0)) @ v) > 0
    x = torch.cat([a, b])
    unit = v / v.norm()
    assert float(v.norm()) == pytest.approx(float((x @ unit).std(correction=0)), rel=1e-4)


def test_oracle_detectors_are_damped_or_set(model):
    name = model.blocks[1]
    area, precision = baselines.expert_scores(model, SOURCE, TARGET, [name])[name]
    damped = baselines.aura(model, SOURCE, TARGET, [name])[name]
    np.testing.assert_allclose(damped.omega, np.where(area > 0.5, 1 - (2 * area - 1), 1), atol=1e-6)
    assert bool((damped.omega >= 0).all())
    still = baselines.det_zero(model, SOURCE, TARGET, [name], least=0.9)[name]
    chosen = torch.from_numpy(precision > 0.9)
    mean = activations(model, TARGET, [name])[name].mean(0)
    torch.testing.assert_close(still.beta[chosen], mean[chosen])
    assert bool((still.omega[~chosen] == 1).all()) and bool((still.beta[~chosen] == 0).all())


def test_invariant_a_placebo_keeps_the_sizes_and_moves_elsewhere(model):
    maps = baselines.mean_shift(model, SOURCE, TARGET, model.blocks[1:3])
    placebo = baselines.shuffled(maps, 0)
    for name in maps:
        torch.testing.assert_close(maps[name].beta.sort().values, placebo[name].beta.sort().values)
    with steer(model, maps):
        one = model.run(model.tokens(SOURCE))
    with steer(model, placebo):
        assert not torch.allclose(one, model.run(model.tokens(SOURCE)))
