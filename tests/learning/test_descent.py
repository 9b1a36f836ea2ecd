"""One step of an optimiser: what moves, what stays, what is counted."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from otlab.learning.descent import descend, init


class Model(eqx.Module):
    """Weights, a whole number and a word."""

    w: jax.Array
    k: jax.Array
    name: str = "word"


def begun(optimizer):
    return init(Model(jnp.arange(3.0), jnp.arange(2)), optimizer)


def slopes(model):
    return eqx.filter_grad(lambda m: jnp.sum(m.w**2))(model)


def test_oracle_plain_descent_moves_the_weights_against_their_slope():
    state = begun(optax.sgd(0.25))
    new = eqx.filter_jit(descend)(state, slopes(state.model))
    np.testing.assert_allclose(new.model.w, [0.0, 0.5, 1.0])


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), optax.adamw(0.1)], ids=["adam", "adamw"])
def test_oracle_steps_are_those_of_optax_alone(optimizer):
    state, w = begun(optimizer), jnp.arange(3.0)
    memory = optimizer.init(w)
    for k in range(3):
        state = descend(state, slopes(state.model))
        with jax.numpy_dtype_promotion("standard"):
            move, memory = optimizer.update(2 * w, memory, w)
        w = w + move
        assert int(state.count) == k + 1
        np.testing.assert_allclose(state.model.w, w, rtol=1e-6, atol=1e-7)


def test_invariant_what_is_no_weight_stays():
    state = begun(optax.adam(0.1))
    new = descend(state, slopes(state.model)).model
    assert new.name == "word" and new.w.dtype == state.model.w.dtype
    np.testing.assert_array_equal(new.k, state.model.k)


def test_failure_slopes_of_another_model():
    state = begun(optax.sgd(0.1))
    with pytest.raises(ValueError):
        descend(state, eqx.filter_grad(lambda w: jnp.sum(w**2))(jnp.ones(3)))
