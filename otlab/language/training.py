"""The one torch training loop: tensors and their optimiser, objective and schedule are yours."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from otlab.core.inputs import positive_int

REMEDY = "lower the learning rate (try a tenth)"


class Step(NamedTuple):
    """Where a run is: steps done before this one, and steps of the whole run."""

    count: int
    total: int

    @property
    def fraction(self) -> float:
        """Of the run that is done, in [0, 1)."""
        return self.count / self.total


def constant(step: Step) -> float:
    """The schedule that leaves the learning rate as it is."""
    return 1.0


def cosine(step: Step, lowest: float = 0.0) -> float:
    """Factor of the learning rate: from 1 at the first step along half a cosine towards `lowest`.

    Source: Loshchilov and Hutter (2017), arXiv 1608.03983, equation 5, without restarts.
    """
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * step.fraction)) / 2


def minimise(objective: Callable[[Step], torch.Tensor], optimiser: torch.optim.Optimizer, *,
             steps: int, seed: int, net: nn.Module | None = None, training: bool = True,
             schedule: Callable[[Step], float] = constant,
             after: Callable[[Step], None] | None = None) -> torch.Tensor:
    """Take `steps` gradient steps on the objective; the loss at each of them, (steps,), on the CPU.

    Args:
        objective: Step -> the loss, one number that carries a gradient; it draws its own batch.
        optimiser: any of torch.optim, over the tensors that learn. They need not ask for gradients:
            while the run lasts they do.
        seed: of torch's global generator during the run, for dropout and what else draws from it.
        net: the module that the gradient passes through. Those of its weights that the optimiser
            does not hold are fixed while the run lasts.
        training: whether net is in training mode meanwhile; False leaves its mode alone.
        schedule: Step -> factor on the learning rate of every group of the optimiser.
        after: what follows an update, such as a proximal step; it sees the step just taken.

    However the run ends, by an error or an interrupt too, all but the values of the tensors that
    learn is as it was before: what asks for gradients, gradients, modes, learning rates, torch's
    generators of random numbers, whether gradients are on, and the number of threads.

    Raises:
        ValueError: for steps below 1, or an objective that gives no number with a gradient.
        RuntimeError: when the loss, or what was learned, is no longer finite; the tensors then
            hold what the last good step made of them.
    """
    steps, groups = positive_int("steps", steps), optimiser.param_groups
    learned = [tensor for group in groups for tensor in group["params"]]
    learning_rates = [group["lr"] for group in groups]
    losses = []
    with seeded(seed), _left_as_it_was(optimiser, net), torch.enable_grad():
        _prepare(learned, net, training)
        for step in (Step(count, steps) for count in range(steps)):
            factor = schedule(step)
            for group, learning_rate in zip(groups, learning_rates, strict=True):
                group["lr"] = learning_rate * factor
            loss = _checked(objective(step), step)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if after is not None:
                with torch.no_grad():
                    after(step)
            losses.append(loss.detach())
    if not all(bool(torch.isfinite(tensor).all()) for tensor in learned):
        raise RuntimeError(f"what was learned is not finite after {steps} steps; {REMEDY}.")
    return torch.stack(losses).cpu()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """While the block runs torch's global generators draw from `seed`; then they are as before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _prepare(learned, net, training: bool) -> None:
    """What the optimiser holds learns, the rest of the net is fixed."""
    if net is not None:
        net.requires_grad_(False)
        if training:
            net.train()
    for tensor in learned:
        tensor.requires_grad_(True)


@contextmanager
def _left_as_it_was(optimiser, net) -> Iterator[None]:
    groups, modules = optimiser.param_groups, [] if net is None else list(net.modules())
    tensors = [tensor for group in groups for tensor in group["params"]]
    tensors += [] if net is None else list(net.parameters())
    asked = [(tensor, tensor.requires_grad, tensor.grad) for tensor in tensors]
    modes = [(module, module.training) for module in modules]
    learning_rates, threads = [group["lr"] for group in groups], torch.get_num_threads()
    try:
        yield
    finally:
        for tensor, requires_grad, grad in asked:
            tensor.requires_grad_(requires_grad)
            tensor.grad = grad
        for module, mode in modes:
            module.training = mode
        for group, learning_rate in zip(groups, learning_rates, strict=True):
            group["lr"] = learning_rate
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _checked(loss, step: Step):
    """The loss, if it is one finite number with a gradient."""
    if not isinstance(loss, torch.Tensor) or loss.ndim or not loss.requires_grad:
        found = (f"a tensor of shape {tuple(loss.shape)}"
                 f"{'' if loss.requires_grad else ' without a gradient'}"
                 if isinstance(loss, torch.Tensor) else type(loss).__name__)
        raise ValueError(f"objective must give one number that carries a gradient; got {found}. "
                         "Take the mean, and see that nothing in it is detached.")
    if not bool(torch.isfinite(loss)):
        raise RuntimeError(f"the loss is {loss.item()} at step {step.count} of {step.total}; "
                           f"{REMEDY}, or see what the objective divides by.")
    return loss
