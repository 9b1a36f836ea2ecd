"""A dense layer is W and b, in the type of what it maps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from otlab.learning.nets.dense import Dense


def test_oracle_numpy(key):
    dense = eqx.tree_at(lambda d: d.bias, Dense(3, 2, key=key), jnp.array([1.0, -2.0]))
    x = jax.random.normal(key, (4, 5, 3))
    want = np.asarray(x) @ np.asarray(dense.weight) + np.array([1.0, -2.0])
    np.testing.assert_allclose(dense(x), want, atol=1e-6)


def test_without_bias_and_in_the_type_of_its_argument(key):
    dense = Dense(3, 2, bias=False, key=key)
    assert dense.bias is None and len(jax.tree.leaves(dense)) == 1
    np.testing.assert_array_equal(dense(jnp.eye(3)), dense.weight)
    assert dense(jnp.ones((5, 3), jnp.bfloat16)).dtype == jnp.bfloat16


def test_weights_begin_at_their_scale(key):
    dense = Dense(400, 300, scale=3.0, key=key)
    np.testing.assert_allclose(dense.weight.std(), 3 / 20, rtol=0.02)
    assert not np.asarray(dense.bias).any()
