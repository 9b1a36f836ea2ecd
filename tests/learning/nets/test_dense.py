"""A dense layer is W and b, in the type of what it maps."""

import jax
import jax.numpy as jnp
import numpy as np

from otlab.learning.nets.dense import Dense


def test_oracle_numpy(key):
    dense, x = Dense(3, 2, scale=2.0, key=key), jax.random.normal(key, (4, 5, 3))
    want = np.asarray(x) @ np.asarray(dense.weight) + np.asarray(dense.bias + 1)
    np.testing.assert_allclose(jax.tree.map(lambda a: a, dense)(x) + 1, want, atol=1e-6)


def test_without_bias_and_in_the_type_of_its_argument(key):
    dense = Dense(3, 2, bias=False, key=key)
    assert dense.bias is None and len(jax.tree.leaves(dense)) == 1
    np.testing.assert_array_equal(dense(jnp.eye(3)), dense.weight)
    assert dense(jnp.ones((5, 3), jnp.bfloat16)).dtype == jnp.bfloat16


def test_weights_begin_at_their_scale(key):
    dense = Dense(400, 300, scale=3.0, key=key)
    np.testing.assert_allclose(dense.weight.std(), 3 / 20, rtol=0.02)
    assert not np.asarray(dense.bias).any()
