"""TorchCFM with our networks: the same matrices, batch, optimiser and schedule, in float32.

TorchCFM 1.0.7 asks for torchdyn and, through it, pytorch-lightning and torchvision; what is
timed here needs torch and POT alone. The benchmark keeps it, and torchdiffeq, which TorchCFM
samples with, in .cache/torchcfm, without their dependencies.
"""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, silu

HOME = Path(".cache/torchcfm")
WANTED = ("torchcfm==1.0.7", "torchdiffeq==0.2.5")


def ready() -> bool:
    """Put both on the path, installed on first use; False where that fails."""
    if not (HOME / "torchdiffeq").is_dir():
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps",
                   "--target", str(HOME), *WANTED]
        if subprocess.run(command).returncode:
            return False
    if str(HOME) not in sys.path:
        sys.path.append(str(HOME))
    return True


class Network(torch.nn.Module):
    """`otlab.learning.nets.mlp.Velocity` with its weights, for many points: v(t (n,), x (n, d))."""

    def __init__(self, velocity):
        super().__init__()
        parts = []
        for ours in velocity.mlp.layers:
            layer = torch.nn.Linear(ours.weight.shape[1], ours.weight.shape[0])
            layer.weight.data = torch.tensor(np.array(ours.weight))
            layer.bias.data = torch.tensor(np.array(ours.bias))
            parts += [layer, torch.nn.SiLU()]
        self.net = torch.nn.Sequential(*parts[:-1])
        waves = torch.pi * torch.arange(1, velocity.time_features + 1)
        self.register_buffer("waves", waves)

    def forward(self, t, x):
        angle = t[:, None] * self.waves
        return self.net(torch.cat([x, t[:, None], torch.cos(angle), torch.sin(angle)], dim=1))


def convolution(ours, size: int) -> torch.nn.Conv2d:
    """A `unet.Conv` (size 3) or a `dense.Dense` (size 1) as Conv2d."""
    W = np.array(ours.weight)
    W = W.reshape(size, size, -1, W.shape[1]).transpose(3, 2, 0, 1)
    layer = torch.nn.Conv2d(W.shape[1], W.shape[0], size, padding=size // 2)
    layer.weight.data, layer.bias.data = torch.tensor(W.copy()), torch.tensor(np.array(ours.bias))
    return layer


def dense(ours) -> torch.nn.Linear:
    layer = torch.nn.Linear(*ours.weight.shape)
    layer.weight.data = torch.tensor(np.array(ours.weight).T.copy())
    layer.bias.data = torch.tensor(np.array(ours.bias))
    return layer


def norm(ours) -> torch.nn.GroupNorm:
    layer = torch.nn.GroupNorm(ours.groups, len(ours.gain))
    layer.weight.data = torch.tensor(np.array(ours.gain))
    layer.bias.data = torch.tensor(np.array(ours.shift))
    return layer


class Block(torch.nn.Module):
    """`unet.Block`."""

    def __init__(self, ours):
        super().__init__()
        self.norm_in, self.norm_out = norm(ours.norm_in), norm(ours.norm_out)
        self.conv_in, self.conv_out = convolution(ours.conv_in, 3), convolution(ours.conv_out, 3)
        self.film = dense(ours.film)
        self.skip = None if ours.skip is None else convolution(ours.skip, 1)

    def forward(self, x, tau):
        z = self.conv_in(silu(self.norm_in(x)))
        gain, shift = self.film(tau)[:, :, None, None].chunk(2, dim=1)
        z = self.conv_out(silu(self.norm_out(z) * (1 + gain) + shift))
        return z + (x if self.skip is None else self.skip(x))


class UNetwork(torch.nn.Module):
    """`unet.UNet` of grey images that read pixels and divide, for many images (n, h, w).

    Sides are halved by pixel_unshuffle, whose order of channels is (c, i, j) where ours is
    (i, j, c): the matrices beside it are reordered, so that both compute the same numbers.
    """

    def __init__(self, ours):
        super().__init__()

        def reordered(c):
            return np.arange(4 * c).reshape(4, c).T.reshape(-1)

        self.time = torch.nn.ModuleList(map(dense, ours.time))
        self.conv_in, self.conv_out = convolution(ours.conv_in, 3), convolution(ours.conv_out, 3)
        self.down, self.up = (torch.nn.ModuleList(map(Block, b)) for b in (ours.down, ours.up))
        self.middle, self.norm = Block(ours.middle), norm(ours.norm)
        self.shrink = torch.nn.ModuleList(convolution(s, 1) for s in ours.shrink)
        self.grow = torch.nn.ModuleList(convolution(g, 1) for g in ours.grow)
        for layer in self.shrink:
            rows = reordered(layer.weight.shape[1] // 4)
            layer.weight.data = layer.weight.data[:, rows]
        for layer in self.grow:
            rows = reordered(layer.weight.shape[0] // 4)
            layer.weight.data, layer.bias.data = layer.weight.data[rows], layer.bias.data[rows]
        self.register_buffer("waves", torch.pi * torch.arange(1, ours.time_features + 1))

    def forward(self, t, x):
        angle = t[:, None] * self.waves
        tau = torch.cat([t[:, None], torch.cos(angle), torch.sin(angle)], dim=1)
        tau = silu(self.time[1](silu(self.time[0](tau))))
        z, skips = self.conv_in(x[:, None]), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            z = block(z, tau)
            skips.append(z)
            z = shrink(pixel_unshuffle(z, 2))
        z = self.middle(z, tau)
        for block, grow in zip(self.up[::-1], self.grow[::-1], strict=True):
            z = block(torch.cat([pixel_shuffle(grow(z), 2), skips.pop()], dim=1), tau)
        return self.conv_out(silu(self.norm(z)))[:, 0]


def network(ours) -> torch.nn.Module:
    """Our network as TorchCFM takes one."""
    return UNetwork(ours) if hasattr(ours, "conv_in") else Network(ours)


def trainer(velocity, y, batch: int, rate: float, *, compiled: bool):
    """run(steps) -> the loss of every step, from TorchCFM's I-CFM loop with Adam.

    compiled: torch.compile of the network, and Adam's fused kernel; else as in TorchCFM's
    examples.
    """
    from torchcfm import ConditionalFlowMatcher

    matcher, y, model = ConditionalFlowMatcher(sigma=0.0), torch.tensor(y), network(velocity)
    first = {k: v.clone() for k, v in model.state_dict().items()}
    call, kernel = (torch.compile(model), {"fused": True}) if compiled else (model, {})

    def run(steps):
        model.load_state_dict(first)
        optimizer = torch.optim.Adam(model.parameters(), rate, **kernel)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        losses = []
        for _ in range(steps):
            x1 = y[torch.randint(len(y), (batch,))]
            t, x_t, u_t = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
            loss = torch.sum((call(t, x_t) - u_t) ** 2) / batch
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cosine.step()
            losses.append(loss.detach())
        return torch.stack(losses).numpy()

    return run


def samplers(velocity, steps: int, *, compiled: bool) -> dict:
    """name -> function x0 -> x1, Euler's method: torchdiffeq as in TorchCFM, and a bare loop."""
    from torchdiffeq import odeint

    model = network(velocity).requires_grad_(False)
    if compiled:
        model = torch.compile(model)
    times = torch.linspace(0, 1, steps + 1)

    def field(t, x):
        return model(t.expand(len(x)), x)

    def solver(x):
        with torch.inference_mode():
            return odeint(field, x, times, method="euler")[-1]

    def loop(x):
        with torch.inference_mode():
            for t, later in zip(times[:-1], times[1:], strict=True):
                x = x + (later - t) * field(t, x)
            return x

    word = ", compiled" if compiled else ""
    return {f"TorchCFM, torchdiffeq{word}": solver, f"torch, a loop{word}": loop}


def pairings(x0, x1, epsilon: float) -> dict:
    """name -> function () -> (x0, x1) as TorchCFM pairs a batch, exactly and by Sinkhorn.

    epsilon: in units of -<x, y>; TorchCFM's cost is |x - y|^2, twice that and what rows and
    columns decide.
    """
    from torchcfm.optimal_transport import OTPlanSampler

    x0, x1 = torch.tensor(x0), torch.tensor(x1)
    exact = OTPlanSampler(method="exact")
    blurred = OTPlanSampler(method="sinkhorn", reg=2 * epsilon)

    def sinkhorn():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")          # POT says when 1,000 sweeps are not enough
            return blurred.sample_plan(x0, x1)

    return {"TorchCFM, exact": lambda: exact.sample_plan(x0, x1), "TorchCFM, Sinkhorn": sinkhorn}
