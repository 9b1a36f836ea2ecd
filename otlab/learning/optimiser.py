"""AdamW whose rate falls along a cosine, with an average of the weights beside it."""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


class Cosine(NamedTuple):
    """Schedule rate (1 + cos(pi k / steps)) / 2; its numbers live in the state, so are traced."""

    k: Int[Array, ""]
    steps: Float[Array, ""]
    rate: Float[Array, ""]


class Average(NamedTuple):
    """Exponential average of the weights, begun at zero, and the number of its terms."""

    weights: optax.Params
    ema: Float[Array, ""]
    k: Int[Array, ""]


@lru_cache
def adam(decay: float, averaged: bool) -> optax.GradientTransformation:
    """One object for each pair of arguments, so that a state of it compiles once."""
    def slower(updates, state, params=None):
        turn = jnp.pi * state.k.astype(state.rate.dtype) / state.steps
        scale = -state.rate * (1 + jnp.cos(turn)) / 2
        updates = jax.tree.map(lambda u: scale.astype(u.dtype) * u, updates)
        return updates, state._replace(k=state.k + 1)

    def remember(updates, state, params):
        def mix(m, p, u):
            return p + u + state.ema.astype(p.dtype) * (m - p - u)

        weights = jax.tree.map(mix, state.weights, params, updates)
        return updates, state._replace(weights=weights, k=state.k + 1)

    def whole_rate(params):
        return Cosine(jnp.zeros((), jnp.int32), jnp.ones(()), jnp.ones(()))

    def nothing_yet(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Average(zeros, jnp.zeros(()), jnp.zeros((), jnp.int32))

    cosine = optax.GradientTransformation(whole_rate, slower)
    average = optax.identity()
    if averaged:
        average = optax.GradientTransformation(nothing_yet, remember)
    return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(decay), cosine, average)
