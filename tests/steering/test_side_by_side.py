"""A batch of several steerings writes what each of them writes alone."""

import numpy as np
import pytest
import torch
from tiny_models import tiny

from otlab.steering.maps import Affine, Maps, steer
from otlab.steering.side_by_side import steer_rows, turn_rows

PROMPTS = ["the cat", "a dog sat"]


def some_maps(seed, guard=False, **where):
    draw = torch.Generator().manual_seed(seed)
    ends = (-torch.ones(32), torch.ones(32)) if guard else (None, None)
    return Maps({name: Affine(1 + 0.3 * torch.randn(32, generator=draw),
                              torch.randn(32, generator=draw), *ends)
                 for name in tiny().blocks[1:3]}, **where)


@pytest.mark.parametrize("where", [{}, {"tokens": "last"}, {"first": True}, {"guard": True}])
@torch.no_grad()
def test_oracle_rows_move_as_if_alone(where):
    model, maps = tiny(), [some_maps(k, **where) for k in range(3)]
    with steer_rows(model, maps, 2, 0.7):
        both = model.run(model.tokens(PROMPTS * 3))
    for k, one in enumerate(maps):
        with steer(model, one, 0.7):
            alone = model.run(model.tokens(PROMPTS))
        real = model.tokens(PROMPTS).mask
        torch.testing.assert_close(both[2 * k:2 * k + 2][real], alone[real], atol=1e-4, rtol=1e-4)


def test_invariant_strength_zero_is_no_steering_and_the_judge_is_plain():
    model, maps = tiny(), [some_maps(0), some_maps(1)]
    settings = dict(groups=2, new=4, seed=3,
                    shows=lambda texts: np.array(["a" in t for t in texts]))
    found = turn_rows(model, maps, PROMPTS, strengths=[0, 1], **settings)
    plain = turn_rows(model, None, PROMPTS, strengths=[0], **settings)
    assert found["texts"][0] == plain["texts"][0] != found["texts"][1]
    assert np.shape(found["texts"]) == (2, 2, 2) and np.shape(found["perplexity"]) == (2, 2)
    with steer_rows(model, maps, 2, 1):
        out = model.generate(PROMPTS * 2, new=4, seed=3)
    assert out.texts == sum(found["texts"][1], [])
    second = type(out)(out.prompts[2:], out.texts[2:], out.given[2:], out.written[2:])
    assert found["perplexity"][1][1] == pytest.approx(model.perplexity(second), rel=1e-4)


def test_failure_sentences():
    with pytest.raises(ValueError, match="same modules"):
        with steer_rows(tiny(), [some_maps(0), some_maps(1, first=True)], 1, 1.0):
            pass
    with pytest.raises(ValueError, match="guard on all"):
        with steer_rows(tiny(), [some_maps(0), some_maps(1, guard=True)], 1, 1.0):
            pass
