"""A small flow that draws digits in two styles, with taps by which every step can be steered."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from otlab.language.model import module_names
from otlab.language.training import Step, cosine, minimise, seeded

CLASSES, SIDE = 10, 8
STYLES = ("plain", "bold")


def bold(images):
    """Strokes one pixel wider, to the right and down: the largest value of each 2×2 window.

    images: (n, 64), 8×8 with ink high.
    """
    square = torch.as_tensor(images).reshape(-1, 1, SIDE, SIDE)
    padded = F.pad(square, (1, 0, 1, 0), value=-torch.inf)
    return F.max_pool2d(padded, 2, stride=1).reshape(-1, SIDE * SIDE)


class StyleVelocity(nn.Module):
    """v(t, x, class, style): a perceptron of three hidden layers; `taps` see their outputs."""

    def __init__(self, width: int):
        super().__init__()
        sizes = [SIDE * SIDE + 8 + CLASSES + len(STYLES), width, width, width]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.out = nn.Linear(width, SIDE * SIDE)

    def forward(self, t, x, label, style, taps=(None, None, None)):
        """t (n,), x (n, 64), label (n,), style (n,) -> (n, 64)."""
        angle = torch.pi * t[:, None] * torch.arange(1, 5, device=t.device)
        h = torch.cat([x, angle.sin(), angle.cos(), F.one_hot(label, CLASSES).to(x.dtype),
                       F.one_hot(style, len(STYLES)).to(x.dtype)], 1)
        for layer, tap in zip(self.hidden, taps, strict=True):
            h = layer(h)
            h = F.silu(h if tap is None else tap(h))
        return self.out(h)


def train(images, labels, *, seed: int, steps: int, batch: int = 128, width: int = 256,
          rate: float = 2e-3) -> StyleVelocity:
    """Flow matching from noise at t = 0 to digits at t = 1, half of them drawn bold.

    Args:
        images: (n, 64), plain digits in [-1, 1].   labels: (n,).
        steps, batch, rate: of Adam, the rate falling to zero along a cosine.

    Source: Lipman et al. (2023), equation 23, with straight paths.
    """
    plain, labels = torch.as_tensor(images).float(), torch.as_tensor(labels).long()
    both = torch.stack([plain, bold(plain)])
    draw = torch.Generator().manual_seed(seed)
    with seeded(seed):
        velocity = StyleVelocity(width).requires_grad_(False).eval()

    def objective(step: Step):
        row = torch.randint(len(plain), (batch,), generator=draw)
        style = torch.randint(len(STYLES), (batch,), generator=draw)
        x1, t = both[style, row], torch.rand(batch, generator=draw)
        x0 = torch.randn(x1.shape, generator=draw)
        x_t = x0 + t[:, None] * (x1 - x0)
        return (velocity(t, x_t, labels[row], style) - (x1 - x0)).square().mean()

    minimise(objective, torch.optim.Adam(velocity.parameters(), rate), steps=steps, seed=seed,
             net=velocity, schedule=cosine)
    return velocity


@dataclass(frozen=True)
class Order:
    """A drawing that is asked for: which noise, which digit, which of STYLES."""

    noise: int
    label: int
    style: str = "plain"


class _Sampler(nn.Module):
    def __init__(self, velocity, steps):
        super().__init__()
        self.velocity = velocity
        self.steps = nn.ModuleList(nn.ModuleList(nn.Identity() for _ in velocity.hidden)
                                   for _ in range(steps))

    def forward(self, x, label, style):
        for k, taps in enumerate(self.steps):
            t = torch.full((len(x),), k / len(self.steps), device=x.device)
            x = x + self.velocity(t, x, label, style, taps) / len(self.steps)
        return x


class StyleFlow:
    """The sampler as a model that `fit` and `steer` take: its texts are orders.

    Every Euler step has taps of its own on the three hidden layers, so the order of the network
    runs through layers and through time, and each step gets its own maps.

    modules: names of the taps, in that order.
    """

    name, positions = "digits in two styles", None

    def __init__(self, velocity: StyleVelocity, steps: int):
        if steps < 1:
            raise ValueError(f"steps of the sampler must be at least 1; got {steps}.")
        self.net = _Sampler(velocity, steps)
        self.modules = module_names(self.net, r"steps\.\d+\.\d+")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    def tokens(self, orders: Sequence[Order]):
        """Orders as tensors: noise (n, 64), label (n,), style (n,)."""
        unknown = {o.style for o in orders} - set(STYLES)
        if unknown:
            raise ValueError(f"style must be one of {', '.join(STYLES)}; got {unknown}.")
        noise = torch.stack([torch.randn(SIDE * SIDE, generator=torch.Generator().manual_seed(
            o.noise)) for o in orders])
        return (noise, torch.tensor([o.label for o in orders]),
                torch.tensor([STYLES.index(o.style) for o in orders]))

    @torch.no_grad()
    def run(self, tokens):
        """Images (n, 64) at the end of the flow."""
        return self.net(*tokens)

    def draw(self, orders: Sequence[Order]):
        """Images of the orders, (n, 64)."""
        return self.run(self.tokens(orders))
