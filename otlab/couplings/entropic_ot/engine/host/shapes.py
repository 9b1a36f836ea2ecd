"""A few sizes that stand for all: clouds are filled up to the next of them.

A program is compiled for one size. Points that are filled in are copies of the first point, so
that a cost function meets nothing new, and whoever asks for sums gives them no weight.
"""

from dataclasses import fields
from functools import wraps

import equinox as eqx
import jax
import numpy as np

from otlab.core import costs
from otlab.couplings.entropic_ot.engine.inputs import on_this_cpu

LEAST = 64  # points; fewer are filled up to so many
PARTS = 8  # sizes from one power of two to the next: an eighth is filled in at most


def size_class(n: int, least: int = LEAST) -> int:
    """The least size of the list that holds n: 64, 72, 80, … 128, 144, …"""
    if n <= least:
        return least
    step = max(1, 2 ** ((n - 1).bit_length() - 1) // PARTS)
    return -(-n // step) * step


def by_pairs(cost) -> bool:
    """Whether C_ij is known to depend on x_i and y_j alone, so that points may be filled in.

    A function of a user's own may look at the whole cloud, such as C / C.mean().
    """
    return isinstance(cost, str) or getattr(cost, "__module__", "") == costs.__name__


def filled(x, cost):
    """x (n, d) filled up to the size class of n, and of d where zeros change no cost."""
    if not by_pairs(cost):
        return x
    n, d = x.shape
    wide = size_class(d, 2) if isinstance(cost, str) else d
    out = np.zeros((size_class(n), wide), x.dtype)
    out[:n, :d], out[n:, :d] = x, x[0]
    return out


def filled_vector(v, size, value):
    """v (n,) filled up to `size` entries with one value."""
    out = np.full(size, value, v.dtype)
    out[:len(v)] = v
    return out


def at_class(function, *cut):
    """`function` of a result and more, compiled for the size class of the result.

    cut: the axes of what it returns, "n" or "m", to be cut to what the result has. Under a trace,
    on an accelerator and where the result is as large as its class nothing is filled in.
    """
    @wraps(function)
    def call(result, *others):
        numbers = jax.tree.leaves(eqx.filter((result, others), eqx.is_array))
        if not on_this_cpu(*numbers) or result.shards > 1:
            return function(result, *others)
        x, y = (filled(np.asarray(v), result.cost) for v in (result.x, result.y))
        if x.shape == result.x.shape and y.shape == result.y.shape:
            return function(result, *others)
        vectors = {name: filled_vector(np.asarray(getattr(result, name)), len(cloud), 0)
                   for name, cloud in (("f", x), ("a", x), ("g", y), ("b", y))}
        larger = replaced(result, x=x, y=y, **vectors)
        out, sizes = function(larger, *others), {"n": len(result.x), "m": len(result.y)}
        if not cut:
            return out
        return jax.device_put(np.asarray(out)[tuple(slice(sizes[k]) for k in cut)])

    return call


def replaced(result, **arrays):
    """The result with some of its arrays replaced."""
    names = [field.name for field in fields(result)]
    return type(result)(**{k: arrays.get(k, getattr(result, k)) for k in names})


def of_any_size(*cut):
    """Decorator of a jitted method of a result, see `at_class`."""
    return lambda method: at_class(method, *cut)
