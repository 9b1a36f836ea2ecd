"""One step of an optax optimiser on the weights of a model, and what it carries."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


class TrainState(eqx.Module):
    """What training carries: model, optimiser state, number of steps done."""

    model: eqx.Module
    opt_state: optax.OptState
    count: Int[Array, ""]
    optimizer: optax.GradientTransformation = eqx.field(static=True)


def init(model, optimizer: optax.GradientTransformation) -> TrainState:
    """Start training `model`, its inexact arrays, with any optax optimiser."""
    params = eqx.filter(model, eqx.is_inexact_array)
    return TrainState(model, optimizer.init(params), jnp.zeros((), jnp.int32), optimizer)


def descend(state: TrainState, grads) -> TrainState:
    """The state one step later. grads: slopes of what is minimised, as `filter_grad` gives them."""
    params, static = eqx.partition(state.model, eqx.is_inexact_array)
    with jax.numpy_dtype_promotion("standard"):    # optax mixes int32 counters with floats
        updates, opt_state = state.optimizer.update(grads, state.opt_state, params)
    model = eqx.combine(optax.apply_updates(params, updates), static)
    return TrainState(model, opt_state, state.count + 1, state.optimizer)
