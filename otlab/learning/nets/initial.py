"""Weights to begin with: the numbers of jax.random, drawn so that little is compiled.

`jax.random.normal` is compiled for every shape, a quarter of a second each on a CPU; a U-Net has
thirty shapes. Threefry counts: the first numbers of a long draw are those of a short one. So each
draw here is the beginning of one of a few lengths. Under a trace, and with other generators, it
is the plain call. A reader of the method never needs this module.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from otlab.core.inputs import known
from otlab.core.threefry import by_place

LENGTHS = tuple(16**k for k in range(1, 7))  # numbers in a draw
KEYS = 32


def normal(key, shape: tuple[int, ...], *, scale=1.0, inputs: int = 1) -> Array:
    """Numbers from N(0, scale^2 / inputs): scale * jax.random.normal(key, shape) / sqrt(inputs)."""
    z = _beginning(lambda length: jax.random.normal(key, length), key, shape)
    scale = np.asarray(scale, z.dtype) if known(scale) else scale
    inverse = 1 / np.asarray(math.sqrt(inputs), z.dtype)  # XLA divides by it in this way
    return jnp.asarray(scale * z * inverse)


def uniform(key, shape: tuple[int, ...], limit: float) -> Array:
    """jax.random.uniform(key, shape, minval=-limit, maxval=limit)."""
    return jnp.asarray(_beginning(
        lambda length: jax.random.uniform(key, length, minval=-limit, maxval=limit), key, shape))


def zeros(*shape: int) -> Array:
    """jnp.zeros(shape), with nothing compiled."""
    return jnp.asarray(np.zeros(shape))


def ones(*shape: int) -> Array:
    """jnp.ones(shape), with nothing compiled."""
    return jnp.asarray(np.ones(shape))


def split(key, count: int) -> list:
    """The keys of jax.random.split(key, count)."""
    if count > KEYS or not _counts(key):
        return list(jax.random.split(key, count))
    keys = jax.random.split(key, KEYS)
    if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        return list(map(jnp.asarray, np.asarray(keys)[:count]))
    words = np.asarray(jax.random.key_data(keys))[:count]
    return [jax.random.wrap_key_data(word, impl=jax.random.key_impl(key)) for word in words]


def mlp(inputs: int, outputs: int, width: int, depth: int, *, activation, key) -> eqx.nn.MLP:
    """eqx.nn.MLP(inputs, outputs, width, depth, activation, key=key), with the same weights."""
    def made(key):
        return eqx.nn.MLP(inputs, outputs, width, depth, activation=activation, key=key)

    if not _counts(key):
        return made(key)
    net, weights = eqx.filter_eval_shape(made, key), []
    for layer, key_layer in zip(net.layers, split(key, depth + 1), strict=True):
        limit = 1 / math.sqrt(layer.weight.shape[1])
        weights += [uniform(k, x.shape, limit) for k, x in
                    zip(split(key_layer, 2), (layer.weight, layer.bias), strict=True)]
    return eqx.tree_at(lambda net: [x for layer in net.layers
                                    for x in (layer.weight, layer.bias)], net, weights)


def _beginning(draw, key, shape):
    size = math.prod(shape)
    length = next((length for length in LENGTHS if length >= size), None)
    if length is None or not _counts(key):
        return draw(shape)
    return np.asarray(draw((length,)))[:size].reshape(shape)


def _counts(key) -> bool:
    """Whether the key can be looked at and its numbers depend on their place alone."""
    return known(key) and jnp.shape(key) in ((), (2,)) and by_place(key)
