"""First weights: the numbers of jax.random to the last bit, from draws of a few lengths."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.learning.nets import initial
from otlab.learning.nets.dense import Dense

KEYS = [jax.random.key(3), jax.random.PRNGKey(4)]


def same(ours, theirs):
    ours, theirs = (jax.tree.leaves(eqx.filter(tree, eqx.is_array)) for tree in (ours, theirs))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype and isinstance(a, jax.Array)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("key", KEYS)
@settings(max_examples=8, deadline=None)
@given(shape=st.lists(st.integers(0, 17), min_size=1, max_size=3).map(tuple))
def test_oracle_draws_are_those_of_jax(key, shape):
    same(initial.normal(key, shape), jax.random.normal(key, shape))
    same(initial.normal(key, shape, scale=0.3, inputs=7),
         0.3 * jax.random.normal(key, shape) / jnp.sqrt(7.0))
    same(initial.uniform(key, shape, 0.2),
         jax.random.uniform(key, shape, minval=-0.2, maxval=0.2))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("count", [1, 2, 32, 33])
def test_oracle_keys_are_those_of_jax(key, count):
    ours, theirs = initial.split(key, count), jax.random.split(key, count)
    assert len(ours) == count
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        same(jax.random.normal(a, (3,)), jax.random.normal(b, (3,)))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("sizes", [(2, 3, 8, 1), (11, 2, 5, 3)])
def test_oracle_a_perceptron_is_that_of_equinox(key, sizes):
    same(initial.mlp(*sizes, activation=jax.nn.silu, key=key),
         eqx.nn.MLP(*sizes, activation=jax.nn.silu, key=key))


def test_invariant_many_sizes_draw_few_lengths(monkeypatch):
    drawn = []
    plain = jax.random.normal

    def watched(key, shape):
        drawn.append(shape)
        return plain(key, shape)

    monkeypatch.setattr(jax.random, "normal", watched)
    for size in range(17, 60):
        initial.normal(KEYS[0], (size, 4))
    assert set(drawn) == {(256,)}


def test_invariant_traced_keys_and_double_precision_give_the_same_numbers():
    same(jax.vmap(lambda key: initial.normal(key, (5,)))(jax.random.split(KEYS[0], 2)),
         jnp.stack([initial.normal(key, (5,)) for key in jax.random.split(KEYS[0], 2)]))
    traced = eqx.filter_jit(lambda key: Dense(3, 4, key=key))(KEYS[0])
    np.testing.assert_allclose(traced.weight, Dense(3, 4, key=KEYS[0]).weight, rtol=1e-6)
    with jax.enable_x64(True):
        key = jax.random.key(3)
        same(initial.normal(key, (6,), scale=2.0), 2.0 * jax.random.normal(key, (6,)))
        assert initial.zeros(2).dtype == initial.ones(2).dtype == jnp.float64


def test_invariant_other_generators_are_called_plainly():
    key = jax.random.key(0, impl="rbg")
    same(initial.normal(key, (7,)), jax.random.normal(key, (7,)))
    assert initial.split(key, 2)[1] == jax.random.split(key, 2)[1]
