"""The small flow learns, obeys its orders, and is steered through layers and time."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from otlab.core import data
from otlab.steering import activation_transport
from otlab.steering.flow_styles import Order, StyleFlow, StyleVelocity, bold, train
from otlab.steering.maps import steer


@lru_cache
def trained():
    digits = data.digits()
    return StyleFlow(train(digits.flat[:1000], digits.labels[:1000], seed=0, steps=300, width=96),
                     6)


def untrained(steps=3, width=16):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StyleFlow(StyleVelocity(width).requires_grad_(False), steps)


def test_oracle_bold_is_the_maximum_of_four_pixels():
    image = -torch.ones(8, 8)
    image[2, 3] = 1
    wide = bold(image.reshape(1, 64)).reshape(8, 8)
    assert (wide == 1).nonzero().tolist() == [[2, 3], [2, 4], [3, 3], [3, 4]]


def test_invariant_orders_are_seeded_and_rows_are_independent():
    flow = untrained()
    orders = [Order(0, 3), Order(1, 3), Order(0, 3, "bold")]
    images = flow.draw(orders)
    torch.testing.assert_close(images[1:2], flow.draw(orders[1:2]))
    assert not torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_invariant_taps_come_in_the_order_of_time():
    assert untrained().modules == [f"steps.{k}.{layer}" for k in range(3) for layer in range(3)]


def test_oracle_orders_and_maps_give_the_ink_of_their_style():
    digits, flow = data.digits(), trained()
    plain = [Order(k, k % 10) for k in range(200)]
    wanted = [Order(k + 500, k % 10, "bold") for k in range(200)]
    ink = [float(flow.draw(orders).mean()) for orders in (plain, wanted)]
    np.testing.assert_allclose(ink, [digits.flat.mean(), bold(digits.flat).mean()], atol=0.08)
    maps = activation_transport.fit(flow, plain[:60], wanted[:60], flow.modules, method="linear")
    with steer(flow, maps, 1.0):
        np.testing.assert_allclose(float(flow.draw(plain).mean()), ink[1], atol=0.08)


def test_invariant_training_is_seeded():
    digits = data.digits()
    a, b, c = (train(digits.flat, digits.labels, seed=s, steps=2, width=8) for s in (0, 0, 1))
    assert torch.equal(a.out.weight, b.out.weight) and not torch.equal(a.out.weight, c.out.weight)


def test_failure_sentences():
    with pytest.raises(ValueError, match="plain, bold"):
        untrained().draw([Order(0, 1, "tiny")])
    with pytest.raises(ValueError, match="at least 1"):
        untrained(steps=0)
