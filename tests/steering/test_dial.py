"""The dial turns the same texts at strength zero, and its judge never steers."""

import numpy as np
import pytest
import torch
from tiny_models import tiny

from otlab.steering.dial import strength_at, turn
from otlab.steering.maps import Affine, Maps

PROMPTS = ["the cat", "a dog sat"]


def test_invariant_strength_zero_is_no_steering_and_the_judge_is_plain():
    model = tiny()
    maps = Maps({model.blocks[1]: Affine(torch.ones(32), torch.ones(32))})
    settings = dict(seeds=[0, 1], new=5, shows=lambda texts: np.array(["a" in t for t in texts]))
    turned = turn(model, maps, PROMPTS, strengths=[0, 2], **settings)
    plain = turn(model, None, PROMPTS, strengths=[0], **settings)
    assert [(t.strength, t.seed) for t in turned] == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert turned[:2] == plain and turned[2].texts != plain[0].texts
    for t in turned:
        out = [model.encode(p) + model.encode(text) for p, text in zip(PROMPTS, t.texts,
                                                                       strict=True)]
        logp = torch.cat([
            model.run(model.tokens([ids]))[0].log_softmax(-1)[len(p) - 1:-1].gather(
                1, torch.tensor(ids[len(p):])[:, None])[:, 0]
            for ids, p in zip(out, PROMPTS, strict=True)])
        assert t.perplexity == pytest.approx(float(torch.exp(-logp.mean())), rel=1e-4)
        assert t.presence == np.mean(["a" in text for text in t.texts])


def test_oracle_the_strength_at_a_level():
    assert strength_at([0, 1, 2], [10, 20, 40], 30) == pytest.approx(1.5)
    assert strength_at([0, 1], [50, 60], 40) == 0
    assert np.isnan(strength_at([0, 1], [1, 2], 3))
    with pytest.raises(ValueError, match="one value a strength"):
        strength_at([0, 1], [1], 1)
