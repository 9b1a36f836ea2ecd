"""The one torch loop: the steps of a loop written by hand, and nothing left behind."""

import copy
import math

import pytest
import torch
from torch import nn

from otlab.language.training import Step, constant, cosine, minimise, seeded

X = torch.linspace(-1, 1, 24).reshape(12, 2)
Y = torch.sin(3 * X.sum(1, keepdim=True))


def network(dropout=0.0):
    with seeded(0):
        return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def gap(net):
    return lambda step: (net(X) - Y).square().mean()


def left_behind(net):
    """What a run may not change: modes, what asks for gradients, gradients, generators, threads."""
    return ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()],
            [p.grad for p in net.parameters()], torch.get_rng_state().tolist(),
            torch.get_num_threads(), torch.is_grad_enabled())


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    lambda p: torch.optim.Adam(p, 0.02, betas=(0.8, 0.9))], ids=["sgd", "adam"])
def test_oracle_a_loop_written_by_hand(make):
    ours, theirs = network(), network()
    losses = minimise(gap(ours), make(ours.parameters()), steps=9, seed=0, net=ours,
                      schedule=cosine)
    optimiser, expected = make(theirs.parameters()), []
    first = optimiser.param_groups[0]["lr"]
    for k in range(9):
        optimiser.param_groups[0]["lr"] = first * (1 + math.cos(math.pi * k / 9)) / 2
        for p in theirs.parameters():
            p.grad = None
        loss = (theirs(X) - Y).square().mean()
        loss.backward()
        optimiser.step()
        expected.append(float(loss.detach()))
    assert losses.tolist() == expected and losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(a, b) for a, b in
               zip(ours.parameters(), theirs.parameters(), strict=True))


def test_oracle_the_cosine_is_that_of_torch():
    for lowest in (0.0, 0.01):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.3)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 17, 0.3 * lowest)
        for k in range(17):
            assert 0.3 * cosine(Step(k, 17), lowest) == pytest.approx(falling.get_last_lr()[0])
            optimiser.step()
            falling.step()
    assert cosine(Step(0, 5)) == constant(Step(4, 5)) == 1


def test_invariant_everybody_sees_the_step_and_the_total():
    seen = {"objective": [], "schedule": [], "after": []}
    net = network()

    def objective(step):
        seen["objective"].append(step)
        return gap(net)(step)

    def schedule(step):
        seen["schedule"].append(step)
        return 1 - step.fraction

    optimiser = torch.optim.SGD([{"params": net[0].parameters(), "lr": 0.4},
                                 {"params": net[3].parameters(), "lr": 0.1}])
    used = []

    def after(step):
        seen["after"].append(step)
        used.append([group["lr"] for group in optimiser.param_groups])
        assert not torch.is_grad_enabled()

    minimise(objective, optimiser, steps=4, seed=0, schedule=schedule, after=after)
    assert seen == dict.fromkeys(seen, [(k, 4) for k in range(4)])
    assert used == [pytest.approx([0.4 * (1 - k / 4), 0.1 * (1 - k / 4)]) for k in range(4)]
    assert [group["lr"] for group in optimiser.param_groups] == [0.4, 0.1]


def test_invariant_what_follows_an_update_may_change_what_was_learned():
    weight = torch.ones(3)
    minimise(lambda step: weight.square().sum(), torch.optim.SGD([weight], 0.1), steps=2, seed=0,
             after=lambda step: weight[0].zero_())
    torch.testing.assert_close(weight, torch.tensor([0, 0.64, 0.64]))
    assert not weight.requires_grad and weight.grad is None


def test_invariant_only_what_the_optimiser_holds_learns():
    net = network().eval()
    before = copy.deepcopy(net.state_dict())
    asked = []

    def objective(step):
        asked.append([p.requires_grad for p in net.parameters()])
        return gap(net)(step)

    minimise(objective, torch.optim.Adam(net[3].parameters(), 0.1), steps=3, seed=0, net=net)
    assert asked == [[False, False, True, True]] * 3     # nothing is kept for what is fixed
    assert all(p.requires_grad for p in net.parameters())
    moved = [name for name, value in net.state_dict().items()
             if not torch.equal(value, before[name])]
    assert moved == ["3.weight", "3.bias"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ends", [None, ValueError, KeyboardInterrupt])
def test_invariant_all_but_the_weights_is_left_as_it_was(ends, training):
    net, kept = network(), torch.ones(1)
    net[0].eval()
    net[3].bias.requires_grad_(False).grad = kept
    net[0].weight.requires_grad_(False)
    before, modes = left_behind(net), []

    def objective(step):
        modes.append([m.training for m in net.modules()])
        torch.set_num_threads(before[4] + 1)
        if ends and step.count == 2:
            raise ends("on purpose")
        return gap(net)(step) + 0 * torch.rand(())

    def run():
        with torch.no_grad():
            minimise(objective, torch.optim.SGD(net.parameters(), 0.1), steps=4, seed=0, net=net,
                     training=training)

    torch.manual_seed(5)
    before = left_behind(net)
    weight = net[3].bias.clone()
    if ends:
        with pytest.raises(ends, match="on purpose"):
            run()
    else:
        run()
    assert left_behind(net) == before and net[3].bias.grad is kept
    assert not torch.equal(net[3].bias, weight)
    assert modes == [[True] * 5 if training else before[0]] * (3 if ends else 4)


def test_invariant_random_draws_are_seeded():
    runs = []
    for seed in (0, 0, 1):
        net = network(dropout=0.5)
        runs.append(minimise(gap(net), torch.optim.SGD(net.parameters(), 0.1), steps=3, seed=seed,
                             net=net).tolist())
    assert runs[0] == runs[1] != runs[2]


def test_failure_a_loss_that_is_lost_is_named_and_the_weights_are_the_last_good_ones():
    net = network()

    def objective(step):
        loss = gap(net)(step)
        return loss * float("nan") if step.count == 3 else loss

    other = network()
    minimise(gap(other), torch.optim.SGD(other.parameters(), 0.1), steps=3, seed=0, net=other)
    with pytest.raises(RuntimeError, match=r"loss is nan at step 3 of 7; lower the learning rate"):
        minimise(objective, torch.optim.SGD(net.parameters(), 0.1), steps=7, seed=0, net=net)
    assert all(torch.equal(a, b) for a, b in
               zip(net.parameters(), other.parameters(), strict=True))


def test_failure_a_gradient_that_is_lost_at_the_last_step_is_seen():
    weight = torch.zeros(1)
    with pytest.raises(RuntimeError, match="not finite after 1 steps; lower the learning rate"):
        minimise(lambda step: weight.abs().sqrt().sum(), torch.optim.SGD([weight], 0.1), steps=1,
                 seed=0)


@pytest.mark.parametrize("loss, words", [
    (lambda net: (net(X) - Y).square(), r"a tensor of shape \(12, 1\)"),
    (lambda net: (net(X) - Y).square().mean().detach(), "without a gradient"),
    (lambda net: 0.5, "got float"), (lambda net: None, "got NoneType")])
def test_failure_an_objective_that_gives_no_loss(loss, words):
    net = network()
    with pytest.raises(ValueError, match=f"objective must.*{words}"):
        minimise(lambda step: loss(net), torch.optim.SGD(net.parameters(), 0.1), steps=1, seed=0)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_failure_steps(steps):
    net = network()
    with pytest.raises(ValueError, match=f"steps must be a whole number.*got {steps}"):
        minimise(gap(net), torch.optim.SGD(net.parameters(), 0.1), steps=steps, seed=0)
