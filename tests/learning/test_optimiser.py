"""The optimiser against optax's own AdamW, cosine schedule and average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flow_fields import Affine

from otlab.learning import fit as training
from otlab.learning import loop as steps
from otlab.learning.optimiser import AdamW, Group

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
    state = steps.init(model, AdamW(model, rate=0.1), steps=4)
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


def by_two_optax(model, rows, weights, biases, schedule):
    """Weights after STEPS where A and b have an optimiser of optax each."""
    params = {"A": model.A, "b": model.b}
    with jax.numpy_dtype_promotion("standard"):
        optimizer = optax.multi_transform(
            {name: optax.adamw(lambda k, rate=rate: rate * schedule(k / STEPS), *betas, epsilon,
                               weight_decay=decay)
             for name, (rate, betas, epsilon, decay) in (("A", weights), ("b", biases))},
            {"A": "A", "b": "b"})
        state = optimizer.init(params)
        for _ in range(STEPS):
            grads = jax.grad(lambda p: quadratic(None, Affine(p["A"], p["b"]), *rows))(params)
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("how", ["function", "tree"])
def test_oracle_groups_are_optimisers_of_their_own(how, problem, key):
    """Factors on learning rate, decay, epsilon and betas, against optax's multi_transform."""
    def linear(fraction):
        return 1 - fraction

    model, rows = problem
    group = Group(rate=0.1, decay=3.0, epsilon=50.0, forget=(2.0, 10.0))
    groups = {"function": lambda path, tensor: group if path == ".b" else Group(),
              "tree": Affine(Group(), group)}[how]
    wanted = by_two_optax(model, rows, (0.2, (0.9, 0.99), 1e-2, 0.1),
                          (0.02, (0.8, 0.9), 0.5, 0.3), linear)
    found = training.fit(key, model, tuple(x[None] for x in rows), steps=STEPS, batch=1, rate=0.2,
                         decay=0.1, epsilon=1e-2, betas=(0.9, 0.99), groups=groups,
                         schedule=linear, objective=lambda key, model, a, b: quadratic(
                             key, model, a[0], b[0])).model
    np.testing.assert_allclose(found.A, wanted["A"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(found.b, wanted["b"], rtol=2e-5, atol=1e-6)


def test_invariant_a_group_spares_what_it_names(problem, key):
    """rate=0 freezes a tensor; decay=0 leaves it to its gradient, here zero."""
    model, rows = problem

    def flat(key, model, target, scale):
        return 0.0 * (jnp.sum(model.A) + jnp.sum(model.b))

    for spared in (Group(rate=0.0), Group(decay=0.0)):
        found = training.fit(key, model, tuple(x[None] for x in rows), steps=3, batch=1, rate=0.5,
                             decay=0.4, objective=flat, groups=Affine(Group(), spared)).model
        np.testing.assert_array_equal(found.b, model.b)
        assert np.abs(found.A).sum() < 0.9 * np.abs(model.A).sum()


def test_failure_settings_are_named(problem, key):
    model, rows = problem
    for bad, sentence in (
            ({"rate": -1.0}, "rate must be a positive number; got -1.0"),
            ({"decay": -0.1}, "decay must be a number of at least 0"),
            ({"epsilon": 0.0}, "epsilon must be a positive"),
            ({"betas": (1.0, 0.9)}, r"beta_1 must be a number in \[0, 1\); got 1.0"),
            ({"rate": [0.1, 0.2]}, r"rate must be one number; got shape \(2,\).*fit_many"),
            ({"groups": Group()}, "groups has another structure"),
            ({"groups": lambda path, leaf: 1.0}, "a Group for each tensor; got 1.0"),
            ({"groups": lambda path, leaf: Group(rate=-1.0)}, "factor on rate must be"),
            ({"groups": lambda path, leaf: Group(forget=(20.0, 1.0))},
             "1 - beta_1 times the factor of a group must be at most 1")):
        with pytest.raises(ValueError, match=sentence):
            AdamW(model, **{"rate": 0.1} | bad)
    with pytest.raises(ValueError, match=r"rate must be one number or 3, one a model; got.*2"):
        AdamW(training.stack([model] * 3), rate=[0.1, 0.2], models=3)
