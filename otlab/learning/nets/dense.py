"""A linear map of the last axis, in the type of what it maps."""

import equinox as eqx
from jaxtyping import Array, Float

from otlab.learning.nets import initial


class Dense(eqx.Module):
    """x W + b, the same at every token or pixel: (..., c_in) -> (..., c_out).

    It computes in the type of x, whatever that of the weights. They begin as N(0, scale^2 / c_in),
    biases at zero; bias = False leaves these out.
    """

    weight: Float[Array, "c_in c_out"]
    bias: Float[Array, " c_out"] | None

    def __init__(self, c_in: int, c_out: int, *, scale: float = 1.0, bias: bool = True, key):
        self.weight = initial.normal(key, (c_in, c_out), scale=scale, inputs=c_in)
        self.bias = initial.zeros(c_out) if bias else None

    def __call__(self, x):
        y = x @ self.weight.astype(x.dtype)
        return y if self.bias is None else y + self.bias.astype(x.dtype)
