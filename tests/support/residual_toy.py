"""A frozen random residual network over vectors, steered through the same hooks as a model."""

import torch
from torch import nn


class Residual(nn.Module):
    """One block: x + W2 tanh(W1 x)."""

    def __init__(self, d, draw):
        super().__init__()
        self.w1, self.w2 = (torch.randn(d, d, generator=draw) / d**0.5 for _ in range(2))

    def forward(self, x):
        return x + torch.tanh(x @ self.w1.T) @ self.w2.T


class Toy:
    """`blocks` residual blocks of width d; `run` takes a list of vectors."""

    name, positions = "residual toy", None

    def __init__(self, d=8, blocks=4, seed=0):
        draw = torch.Generator().manual_seed(seed)
        self.net = nn.Sequential(*(Residual(d, draw) for _ in range(blocks)))
        self.anchor = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.net.register_parameter("anchor", self.anchor)
        self.blocks = [str(k) for k in range(blocks)]

    def tokens(self, rows):
        return torch.stack(list(rows))

    def run(self, x):
        return self.net(x)
