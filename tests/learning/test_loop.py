"""One step of the loop: what moves, what stays, what is counted, what is told."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from otlab.learning.loop import Run, Step, advance, descend, finished, init, step
from otlab.learning.optimiser import AdamW


class Model(eqx.Module):
    """Weights, a whole number and a word."""

    w: jax.Array
    k: jax.Array
    name: str = "word"


def begun(optimizer, **more):
    return init(Model(jnp.arange(3.0), jnp.arange(2)), optimizer, **more)


def gradient(model):
    return eqx.filter_grad(lambda m: jnp.sum(m.w**2))(model)


def down(state):
    return descend(state, (jnp.zeros(()), {}), gradient(state.model))


def test_oracle_plain_descent_moves_the_weights_against_their_gradient():
    state = begun(optax.sgd(0.25))
    new, info = eqx.filter_jit(down)(state)
    np.testing.assert_allclose(new.model.w, [0.0, 0.5, 1.0])
    assert float(info["gradient_norm"]) == pytest.approx(np.sqrt(20))


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), optax.adamw(0.1)], ids=["adam", "adamw"])
def test_oracle_steps_are_those_of_optax_alone(optimizer):
    state, w = begun(optimizer), jnp.arange(3.0)
    memory = optimizer.init(w)
    for k in range(3):
        state, _ = down(state)
        with jax.numpy_dtype_promotion("standard"):
            move, memory = optimizer.update(2 * w, memory, w)
        w = w + move
        assert int(state.count) == k + 1
        np.testing.assert_allclose(state.model.w, w, rtol=1e-6, atol=1e-7)


def test_oracle_the_average_of_any_optimiser_is_that_of_optax():
    state, kept = begun(optax.sgd(0.1), ema=0.7), optax.ema(0.7, debias=True)
    memory = kept.init(state.model.w)
    for _ in range(4):
        state, _ = down(state)
        with jax.numpy_dtype_promotion("standard"):
            mean, memory = kept.update(state.model.w, memory)
    np.testing.assert_allclose(finished(state).w, mean, rtol=1e-5)
    assert np.abs(mean - state.model.w).max() > 0.1


def test_invariant_what_is_no_weight_stays():
    new = down(begun(optax.adam(0.1), steps=7))[0]
    assert new.model.name == "word" and new.model.w.dtype == jnp.float32
    np.testing.assert_array_equal(new.model.k, jnp.arange(2))
    assert [int(n) for n in new.step] == [1, 7]


def test_oracle_the_fraction_of_a_run_is_zero_where_its_length_is_not_known():
    assert float(Step(jnp.asarray(3), jnp.asarray(12)).fraction) == 0.25
    assert float(Step(jnp.asarray(3), jnp.asarray(0)).fraction) == 0
    model = Model(jnp.ones(3), jnp.arange(2))
    endless, long = (init(model, AdamW(model, rate=0.1), steps=steps) for steps in (0, 1))
    np.testing.assert_array_equal(down(endless)[0].model.w, down(long)[0].model.w)


def told(key, model, x):
    """Half the mean square of x - w, its largest entry, and how many rows are positive."""
    gap = x - model.w
    return jnp.mean(jnp.sum(gap**2, axis=1)) / 2, {"largest": jnp.max(x), "rows": jnp.sum(x > 0)}


def test_oracle_what_an_objective_tells_is_kept_for_every_step(key):
    state, x = begun(optax.sgd(0.1)), jax.random.normal(key, (40, 3))
    new, info = step(key, state, x, objective=told)
    np.testing.assert_allclose(new.model.w, state.model.w + 0.1 * (x - state.model.w).mean(0),
                               rtol=1e-5)
    assert info["largest"] == x.max() and info["rows"] == (x > 0).sum()
    _, blocks = step(key, state, x, objective=told, block=10)          # means over the blocks
    np.testing.assert_allclose(blocks["rows"], info["rows"] / 4)
    np.testing.assert_allclose(blocks["loss"], info["loss"], rtol=1e-5)

    run = Run(key, (x,), told, batch=8)
    _, history = advance(run, state, 5)
    assert {k: v.shape for k, v in history.items()} == dict.fromkeys(
        ("loss", "largest", "rows"), (5,))
    for k in range(5):
        rows = run.draw(Step(jnp.asarray(k), jnp.asarray(5)))[1][0]
        assert history["largest"][k] == rows.max() and history["rows"][k] == (rows > 0).sum()
    assert len({float(v) for v in history["largest"]}) > 1


def test_failure_gradient_of_another_model():
    state = begun(optax.sgd(0.1))
    other = eqx.filter_grad(lambda w: jnp.sum(w**2))(jnp.ones(3))
    with pytest.raises(ValueError):
        descend(state, (0.0, {}), other)
    own = begun(AdamW(state.model, rate=0.1), steps=2)
    with pytest.raises(ValueError):
        descend(own, (0.0, {}), other)
