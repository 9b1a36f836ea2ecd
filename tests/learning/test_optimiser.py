"""The optimiser against optax's own AdamW, cosine schedule and average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flow_fields import Affine

from otlab.learning import fit as training
from otlab.learning import loop as steps

STEPS = 12


def quadratic(key, model, target, scale):
    """A loss without chance: sum scale (model - target)^2 over both arrays."""
    return jnp.sum(scale * (model.A - target) ** 2) + jnp.sum((model.b - 3) ** 2)


@pytest.fixture(scope="module")
def problem():
    key_a, key_b = jax.random.split(jax.random.key(2))
    model = Affine(jax.random.normal(key_a, (2, 2)), jax.random.normal(key_b, (2,)))
    return model, (jnp.eye(2), jnp.array([[1.0, 10.0], [0.1, 1.0]]))


def by_optax(model, rows, rate, decay, ema):
    """Weights after STEPS of optax.adamw under cosine_decay_schedule, and their optax.ema."""
    def loss(params):
        return quadratic(None, Affine(*params), *rows)

    optimizer = optax.adamw(optax.cosine_decay_schedule(rate, STEPS), weight_decay=decay)
    average = optax.ema(ema, debias=True)
    with jax.numpy_dtype_promotion("standard"):
        params = (model.A, model.b)
        state, kept = optimizer.init(params), average.init(params)
        for _ in range(STEPS):
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            params = optax.apply_updates(params, updates)
            mean, kept = average.update(params, kept)
    return params, mean


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_oracle_weights_and_average_are_those_of_optax(decay, problem, key):
    model, rows = problem
    last, mean = by_optax(model, rows, 0.2, decay, 0.8)
    # One pair of rows is all the data there is: every batch is the same.
    pairs = tuple(x[None] for x in rows)

    def objective(key, model, target, scale):
        return quadratic(key, model, target[0], scale[0])

    settings = dict(steps=STEPS, batch=1, rate=0.2, decay=decay, objective=objective)
    plain = training.fit(key, model, pairs, **settings).model
    averaged = training.fit(key, model, pairs, ema=0.8, **settings).model
    for found, wanted in ((plain, last), (averaged, mean)):
        np.testing.assert_allclose(found.A, wanted[0], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(found.b, wanted[1], rtol=2e-5, atol=1e-6)
    assert np.abs(np.asarray(plain.A - averaged.A)).max() > 1e-3


def test_invariant_the_rate_ends_at_zero(problem, key):
    model, rows = problem
    state = steps.begin(model, steps=4, rate=0.1)
    moves = []
    for _ in range(5):
        with jax.numpy_dtype_promotion("standard"):
            new, _ = steps.step(key, state, *rows, objective=quadratic)
        moves.append(float(jnp.abs(new.model.b - state.model.b).max()))
        state = new
    assert moves[4] == 0 and moves[3] < moves[2] < moves[0]


def test_gradient_steps_of_decay_alone_shrink_the_weights(problem, key):
    """With no slope, AdamW multiplies by 1 - rate decay (1 + cos) / 2."""
    model, rows = problem

    def flat(key, model, target, scale):
        return 0.0 * (jnp.sum(model.A) + jnp.sum(model.b))

    pairs = tuple(x[None] for x in rows)
    found = training.fit(key, model, pairs, steps=3, batch=1, rate=0.5, decay=0.4,
                         objective=flat).model
    shares = [1 - 0.5 * 0.4 * (1 + np.cos(np.pi * k / 3)) / 2 for k in range(3)]
    np.testing.assert_allclose(found.A, np.prod(shares) * model.A, rtol=1e-5)


def test_failure_settings_are_named(problem, key):
    model, rows = problem
    with pytest.raises(ValueError, match="rate must be a positive"):
        training.check_settings(3, 1, -1.0, None)
    with pytest.raises(ValueError, match="ema must be None or a number"):
        training.check_settings(3, 1, 1.0, 1.0)
