"""LinEAS: affine maps of all modules learned together, end to end, with a distributional loss."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from otlab.language.hooks import hooked, pool
from otlab.language.training import Step, cosine, minimise
from otlab.steering.activation_transport import matched_quantiles
from otlab.steering.maps import Affine, Maps, untouched

OPTIMISERS = ("adam", "sgd")
LEAST = 4  # order statistics of fewer points carry almost no shape


@dataclass(frozen=True)
class LineasFit:
    """Learned maps and how learning went.

    losses: the transport loss at every step, (steps,), in squared activation units.
    support: share of scales and shifts that differ from the identity, at the end.
    """

    maps: Maps
    losses: torch.Tensor
    support: float


def transport_loss(u, v):
    r"""1/d sum_k sum_i (u_(i)k - v_(i)k)^2: squared W2 of each column, times n, averaged over k.

    Args:
        u: steered samples (n, d), which carry the gradient.   v: target samples (m, d); for m
            unlike n quantiles are interpolated and the sum runs over max(n, m).

    Source: arXiv 2503.10679, equation 4; sorted columns are matched, so that the gradient in
    u_ik is 2 / d times the gap to its partner.
    """
    sorted_u, sorted_v = matched_quantiles(u, v)
    return (sorted_u - sorted_v).square().sum(0).mean()


def proximal(v, *, l1: float, group: float):
    r"""The prox of l1 |v|_1 + group sqrt(d) |v|_2: soft threshold first, then shrink the group.

    Source: arXiv 2503.10679, section 3.3; the other order is not the prox of the sum.
    """
    if l1 < 0 or group < 0:
        raise ValueError(f"l1 and group must not be negative; got {l1} and {group}.")
    u = torch.sign(v) * (v.abs() - l1).clamp(min=0)
    norm = u.norm()
    if norm == 0:
        return u
    return (1 - group * len(v) ** 0.5 / norm).clamp(min=0) * u


def fit(model, source: Sequence[str], target: Sequence[str], modules: Sequence[str], *,
        steps: int, rate: float, seed: int, losses: Sequence[str] | None = None,
        optimiser: str = "adam", batch: int | None = None, gamma: float = 0.0, l1: float = 1.0,
        group: float = 1.0, pooling: str = "mean", first: bool = False,
        start: Maps | None = None, forward: Callable | None = None) -> LineasFit:
    r"""Minimise the mean over `losses` of the transport loss of steered source and plain target.

    Args:
        model: a `language.model.LanguageModel`; its weights stay as they are.
        source, target: unpaired texts, at least four each.
        modules: where maps sit.   losses: where laws are compared; None is `modules`.
        steps, rate: gradient steps, and the first rate of a cosine that falls to rate / 1000.
        seed: of the minibatches.   batch: texts of each side a step; None takes all.
        optimiser: "adam" (betas 0.9, 0.9), or "sgd", which makes the proximal step exact.
        gamma: strength of the sparse group lasso, l1 |.|_1 + group sqrt(d) |.|_2 on omega - 1 and
            on beta of each module, taken as a proximal step of size `rate` after each step.
        pooling, first: as in `activation_transport.fit`.
        start: maps to begin with; None is the identity.
        forward: None, or a function of a list of `source` entries that runs model.net on them, for
            nets that do not read texts.

    Raises:
        ValueError: for fewer than four texts a side, or an unknown optimiser.
        RuntimeError: when the loss is no longer finite.

    Memory: the activations of one batch from the first map to the last loss, kept for the backward
    pass; the network runs no further.

    Source: arXiv 2503.10679, algorithm 1.
    """
    if optimiser not in OPTIMISERS:
        raise ValueError(f"optimiser must be one of {', '.join(OPTIMISERS)}; got {optimiser!r}.")
    size = min(len(source), len(target)) if batch is None else batch
    if min(size, len(source), len(target)) < LEAST:
        raise ValueError(f"fit wants at least {LEAST} texts of each side and a step; got "
                         f"{len(source)}, {len(target)} and batch={batch}.")
    if steps < 1 or not rate > 0:
        raise ValueError(f"steps must be at least 1 and rate positive; got {steps} and {rate}.")
    forward = forward or (lambda rows: model.run(model.tokens(rows)))
    watched = list(modules if losses is None else losses)
    with torch.no_grad():
        aims = traces(model, target, watched, forward, pooling, first)
    widths = _widths(model, source[:LEAST], modules, forward)
    weights = {name: _begin(start, name, d, model) for name, d in widths.items()}
    flat = [v for pair in weights.values() for v in pair]
    adam = optimiser == "adam"
    opt = torch.optim.Adam(flat, lr=rate, betas=(0.9, 0.9)) if adam else torch.optim.SGD(flat, rate)
    draw, whole = torch.Generator().manual_seed(seed), Maps({}, first=first)

    def objective(step: Step):
        rows = _rows(len(source), None if batch is None else size, draw)
        seen = _rows(len(target), None if batch is None else size, draw)
        found = traces(model, [source[i] for i in rows], watched, forward, pooling, first,
                       weights, whole)
        return torch.stack([transport_loss(found[name], aims[name][seen])
                            for name in watched]).mean()

    def falling(step: Step) -> float:
        return cosine(step, lowest=1e-3)

    def after(step: Step) -> None:
        strength = gamma * rate * falling(step)
        shrink(weights, l1=strength * l1, group=strength * group)

    history = minimise(objective, opt, steps=steps, seed=seed, net=model.net, training=False,
                       schedule=falling, after=after if gamma > 0 else None)
    maps = Maps({name: Affine(w.detach().float().cpu(), b.detach().float().cpu())
                 for name, (w, b) in weights.items()},
                {"method": "lineas", "model": model.name, "source": len(source), "seed": seed,
                 "target": len(target), "steps": steps, "rate": rate, "gamma": gamma,
                 "optimiser": optimiser}, first=first)
    return LineasFit(maps, history, support(maps))


def traces(model, rows, watched, forward, pooling="mean", first=False, weights=None, whole=None):
    """Pooled outputs of the watched modules {name: (n, d)}, moved by `weights` on the way.

    The gradient flows through everything. A module that is both moved and watched is watched
    after the move. The pass ends at the last of the watched, of which each runs once.
    """
    found = {}

    def visit(name):
        def look(z):
            new = z
            if weights and name in weights:
                omega, beta = weights[name]
                new = (z.float() * omega + beta).to(z.dtype)
                keep = untouched(model.positions, whole)
                new = new if keep is None else torch.where(keep[..., None], z, new)
            if name in watched:
                found[name] = pool(new.float(), model.positions, pooling, first=first)
                if len(found) == len(set(watched)):
                    raise _Seen
            return None if new is z else new
        return look

    names = dict.fromkeys([*(weights or {}), *watched])
    with suppress(_Seen), hooked(model, {name: visit(name) for name in names}):
        forward(list(rows))
    return found


class _Seen(Exception):
    """Every law is seen: what the network would still compute is not wanted."""


@torch.no_grad()
def shrink(weights: dict, *, l1: float, group: float) -> None:
    """The proximal step on every module's omega - 1 and beta, in place."""
    for omega, beta in weights.values():
        omega.copy_(1 + proximal(omega - 1, l1=l1, group=group))
        beta.copy_(proximal(beta, l1=l1, group=group))


def support(maps: Maps, tolerance: float = 1e-5) -> float:
    """Share of scales and shifts that differ from the identity by more than `tolerance`."""
    moved = [v for m in maps.values() for v in ((m.omega - 1).abs(), m.beta.abs())]
    return float((torch.cat(moved) > tolerance).float().mean())


def _widths(model, rows, modules, forward) -> dict[str, int]:
    widths = {}

    def look(name):
        def read(z):
            widths[name] = z.shape[-1]
        return read

    with torch.no_grad(), hooked(model, {name: look(name) for name in modules}):
        forward(list(rows))
    return {name: widths[name] for name in modules}


def _begin(start, name, d, model):
    device = next(model.net.parameters()).device
    omega, beta = torch.ones(d), torch.zeros(d)
    if start is not None and name in start:
        omega, beta = start[name].omega, start[name].beta
    return [v.to(device, torch.float32, copy=True) for v in (omega, beta)]


def _rows(n, size, draw):
    return list(range(n)) if size is None else torch.randperm(n, generator=draw)[:size].tolist()
