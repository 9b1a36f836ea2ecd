"""The end-to-end fit: its loss, its proximal step, and what it reaches on a toy."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from residual_toy import Toy
from scipy.optimize import minimize
from tiny_models import tiny

from otlab.language.hooks import activations
from otlab.steering.activation_transport import fit as layer_by_layer
from otlab.steering.lineas import fit, proximal, support, traces, transport_loss
from otlab.steering.maps import steer

SOURCE = ["a cat", "the old house.", "in the rain we walk", "so be it"]
TARGET = ["goals, goals", "we won the match", "a kick", "the cup is ours today."]


def clouds(n=32, d=8):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(n, d, generator=draw), 1.4 * torch.randn(n, d, generator=draw) + 0.7


def test_oracle_the_loss_is_n_times_the_mean_squared_w2():
    x, y = clouds()
    expected = len(x) * ot.wasserstein_1d(x.numpy(), y.numpy(), p=2).mean()
    assert float(transport_loss(x, y)) == pytest.approx(float(expected), rel=1e-4)
    assert float(transport_loss(x, x.flip(0))) == 0


def test_gradient_pulls_each_sample_to_its_partner():
    x, y = clouds(6, 3)
    x.requires_grad_()
    transport_loss(x, y).backward()
    rank = x.detach().argsort(0).argsort(0)
    partner = y.sort(0).values.gather(0, rank)
    torch.testing.assert_close(x.grad, 2 / 3 * (x.detach() - partner), atol=1e-5, rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 99))
def test_oracle_the_proximal_step_minimises(d, l1, group, seed):
    v = np.random.default_rng(seed).normal(size=d)

    def value(u):
        return (0.5 * np.sum((u - v) ** 2) + l1 * np.abs(u).sum()
                + group * d**0.5 * np.linalg.norm(u))

    ours = proximal(torch.from_numpy(v), l1=l1, group=group).numpy()
    best = min((minimize(value, start, method="Nelder-Mead",
                         options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000}).fun
                for start in (v, np.zeros(d) + 1e-3)), default=None)
    assert value(ours) <= best + 1e-7


def test_oracle_the_other_order_is_worse():
    v, l1, group = torch.tensor([2.0, 1.0]), 0.5, 0.5

    def value(u):
        return 0.5 * (u - v).square().sum() + l1 * u.abs().sum() + group * 2**0.5 * u.norm()

    wrong = proximal(proximal(v, l1=0, group=group), l1=l1, group=0)
    assert value(proximal(v, l1=l1, group=group)) < value(wrong) - 1e-3


def test_invariant_end_to_end_learning_arrives():
    toy = Toy()
    x, y = clouds()
    found = fit(toy, list(x), list(y), toy.blocks, steps=100, rate=0.05, seed=0)
    aim = activations(toy, list(y), toy.blocks)

    def loss(maps):
        with steer(toy, maps):
            moved = activations(toy, list(x), toy.blocks)
        return np.mean([float(transport_loss(moved[k], aim[k])) for k in toy.blocks])

    # What is left is the sampling noise of 32 points, which no affine map can fit.
    assert loss(found.maps) < 0.15 * float(found.losses[0])
    assert loss(found.maps) == pytest.approx(float(found.losses[-1]), rel=0.02)
    assert loss(found.maps) < loss(layer_by_layer(toy, list(x), list(y), toy.blocks))


def test_invariant_gamma_empties_the_support():
    toy = Toy()
    x, y = clouds()
    shares = [fit(toy, list(x), list(y), toy.blocks, steps=30, rate=0.02, seed=0, gamma=gamma,
                  optimiser="sgd").support for gamma in (0.0, 0.3, 1e3)]
    assert shares[0] > shares[1] > shares[2] == 0


def test_invariant_maps_early_losses_late():
    toy = Toy()
    x, y = clouds()
    found = fit(toy, list(x), list(y), toy.blocks[:1], losses=toy.blocks[2:], steps=40, rate=0.03,
                seed=0)
    assert list(found.maps) == toy.blocks[:1] and found.losses[-1] < found.losses[0]


def test_invariant_a_language_model_learns_and_its_weights_stay():
    model = tiny()
    before = [p.clone() for p in model.net.parameters()]
    found = fit(model, SOURCE, TARGET, model.blocks[1:3], steps=12, rate=0.05, seed=0)
    assert found.losses[-1] < found.losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, model.net.parameters(), strict=True))
    assert all(p.grad is None for p in model.net.parameters())
    assert support(found.maps) > 0.9


def test_invariant_a_model_that_could_learn_is_left_as_it_was():
    toy, (x, y) = Toy(), clouds()
    toy.anchor.requires_grad_(True)
    toy.net.train()
    fit(toy, list(x), list(y), toy.blocks, steps=2, rate=0.05, seed=0)
    assert toy.anchor.requires_grad and toy.anchor.grad is None and toy.net.training
    assert not toy.net.eval().training
    fit(toy, list(x), list(y), toy.blocks, steps=2, rate=0.05, seed=0)
    assert not any(module.training for module in toy.net.modules())


def test_oracle_the_proximal_step_is_as_long_as_the_gradient_step():
    """By hand: plain gradient steps along a cosine that ends at a thousandth, each then shrunk."""
    toy, (x, y) = Toy(blocks=1), clouds()
    steps, rate, gamma = 6, 0.05, 0.4
    found = fit(toy, list(x), list(y), ["0"], steps=steps, rate=rate, seed=0, gamma=gamma,
                optimiser="sgd")
    omega, beta = torch.ones(8, requires_grad=True), torch.zeros(8, requires_grad=True)
    with torch.no_grad():
        z, aim = toy.run(x), toy.run(y)
    for k in range(steps):
        size = rate * (1e-3 + (1 - 1e-3) * (1 + np.cos(np.pi * k / steps)) / 2)
        loss = transport_loss(z * omega + beta, aim)
        assert float(found.losses[k]) == pytest.approx(float(loss.detach()), rel=1e-4)
        gradients = torch.autograd.grad(loss, [omega, beta])
        with torch.no_grad():
            for v, gradient, rest in zip((omega, beta), gradients, (1, 0), strict=True):
                v -= size * gradient
                v.copy_(rest + proximal(v - rest, l1=size * gamma, group=size * gamma))
    torch.testing.assert_close(found.maps["0"].omega, omega.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.maps["0"].beta, beta.detach(), atol=1e-5, rtol=1e-5)


def test_gradient_through_the_network_matches_finite_differences():
    toy = Toy(d=4, blocks=3)
    x, y = clouds(6, 4)
    aims = traces(toy, list(y), toy.blocks, lambda rows: toy.run(toy.tokens(rows)))
    beta = torch.zeros(4, requires_grad=True)

    def loss(beta):
        found = traces(toy, list(x), toy.blocks, lambda rows: toy.run(toy.tokens(rows)),
                       weights={"0": (torch.ones(4), beta)}, whole=None)
        return sum(transport_loss(found[k], aims[k]) for k in toy.blocks)

    slope = torch.autograd.grad(loss(beta), beta)[0]
    h = 1e-2
    for k in range(4):
        e = h * torch.eye(4)[k]
        difference = (loss(e) - loss(-e)) / (2 * h)
        assert float(difference) == pytest.approx(float(slope[k]), rel=0.02, abs=0.02)


def test_invariant_the_pass_ends_at_the_last_loss():
    model, ran = tiny(), []
    last = dict(model.net.named_modules())[model.blocks[3]]
    handle = last.register_forward_hook(lambda *_: ran.append(1))
    try:
        found = fit(model, SOURCE, TARGET, model.blocks[1:2], losses=model.blocks[1:3], steps=2,
                    rate=0.05, seed=0)
        assert not ran[1:] and len(found.losses) == 2    # once, to learn the widths
    finally:
        handle.remove()


def test_failure_sentences():
    model = tiny()
    settings = dict(steps=2, rate=0.01, seed=0)
    for bad, words in [({"optimiser": "newton"}, "optimiser must"), ({"batch": 3}, "at least 4"),
                       ({"steps": 0}, "steps must")]:
        with pytest.raises(ValueError, match=words):
            fit(model, SOURCE, TARGET, model.blocks, **(settings | bad))
    with pytest.raises(ValueError, match="at least 4"):
        fit(model, SOURCE[:3], TARGET, model.blocks, **settings)
    with pytest.raises(ValueError, match="must not be negative"):
        proximal(torch.ones(2), l1=-1, group=0)
    with pytest.raises(RuntimeError, match="lower the learning rate"):
        fit(model, SOURCE, TARGET, model.blocks, steps=20, rate=1e30, seed=0)
