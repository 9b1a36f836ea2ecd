"""The baselines are the maps that their papers write down."""

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


def test_invariant_the_classifier_shift_points_from_source_to_target(model):
    name = model.blocks[1]
    maps = baselines.probe_shift(model, SOURCE, TARGET, [name])
    a, b = (activations(model, texts, [name], pooling="last")[name] for texts in (SOURCE, TARGET))
    v = maps[name].beta
    assert float((b.mean(0) - a.mean(0)) @ v) > 0
    x = torch.cat([a, b])
    unit = v / v.norm()
    assert maps.tokens == "last" and bool((maps[name].omega == 1).all())
    assert float(v.norm()) == pytest.approx(float((x @ unit).std(correction=0)), rel=1e-4)


def test_invariant_a_placebo_keeps_the_sizes_and_moves_elsewhere(model):
    maps = baselines.probe_shift(model, SOURCE, TARGET, model.blocks[1:3])
    placebo = baselines.shuffled(maps, 0)
    for name in maps:
        torch.testing.assert_close(maps[name].beta.sort().values, placebo[name].beta.sort().values)
    with steer(model, maps):
        one = model.run(model.tokens(SOURCE))
    with steer(model, placebo):
        assert not torch.allclose(one, model.run(model.tokens(SOURCE)))
