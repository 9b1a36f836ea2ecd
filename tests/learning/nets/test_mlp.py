"""Velocity: the right map, the right sizes, the right refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.learning.nets.mlp import Velocity, time_embedding


def silu(z):
    return z / (1 + np.exp(-z))


def test_oracle_velocity_is_its_matrices_in_numpy(key):
    v = Velocity(3, width=16, depth=2, time_features=2, key=key)
    x, t = np.array([0.3, -1.0, 2.0]), 0.25
    z = np.concatenate([x, [t], np.cos(np.pi * t * np.arange(1, 3)),
                        np.sin(np.pi * t * np.arange(1, 3))])
    for k, layer in enumerate(v.mlp.layers):
        z = np.asarray(layer.weight) @ z + np.asarray(layer.bias)
        z = silu(z) if k < 2 else z
    assert len(v.mlp.layers) == 3                                # depth counts hidden layers
    np.testing.assert_allclose(v(jnp.float32(t), jnp.asarray(x, jnp.float32)), z, rtol=1e-5)


def test_invariant_the_two_ends_of_time_look_different():
    start, stop = (time_embedding(jnp.float32(t), 4) for t in (0.0, 1.0))
    assert jnp.abs(start - stop)[1:].max() > 1                    # not only through t itself


def test_invariant_a_batch_is_its_points(key):
    v = Velocity(2, width=8, depth=2, key=key)
    x = jax.random.normal(key, (5, 2))
    t = jnp.linspace(0, 1, 5)
    many = jax.vmap(v)(t, x)
    assert many.shape == (5, 2)
    np.testing.assert_allclose(many[2], v(t[2], x[2]), rtol=1e-5, atol=1e-6)


def test_invariant_float64_stays_float64(key, float64):
    v = Velocity(2, width=8, depth=2, key=key)
    assert v(jnp.float64(0.5), jnp.ones(2)).dtype == jnp.float64


def test_gradient_matches_finite_differences(key, float64):
    v = Velocity(2, width=8, depth=2, key=key)
    x = jnp.array([0.4, -0.7])
    J = jax.jacfwd(v, argnums=1)(jnp.float64(0.3), x)
    h = 1e-6
    for k, e in enumerate(jnp.eye(2)):
        slope = (v(jnp.float64(0.3), x + h * e) - v(jnp.float64(0.3), x - h * e)) / (2 * h)
        np.testing.assert_allclose(J[:, k], slope, atol=1e-8)


def test_oracle_default_time_features_grow_with_d(key):
    def made(d, **settings):
        return eqx.filter_eval_shape(lambda key: Velocity(d, **settings, key=key), key)

    assert made(8).time_features == 4 and made(64).time_features == 8
    assert made(2, time_features=0).mlp.in_size == 3


@pytest.mark.parametrize("bad", [{"d": 0}, {"d": 2.5}, {"d": 2, "width": 0},
                                 {"d": 2, "depth": -1}, {"d": 2, "time_features": -1}])
def test_failure_sizes_are_whole_and_positive(key, bad):
    with pytest.raises(ValueError, match="whole number"):
        Velocity(**bad, key=key)


def test_failure_a_batch_is_pointed_to_vmap(key):
    v = Velocity(2, width=8, depth=2, key=key)
    with pytest.raises(ValueError, match="vmap"):
        eqx.filter_eval_shape(v, jnp.float32(0), jnp.ones((7, 2)))


def test_oracle_a_label_adds_its_column_and_no_label_adds_none(key):
    v = Velocity(2, width=8, depth=1, time_features=1, classes=3, key=key)
    x, t = jnp.array([0.3, -0.5]), jnp.float32(0.6)
    W, b = (np.asarray(a) for a in (v.mlp.layers[0].weight, v.mlp.layers[0].bias))
    inputs = np.array([0.3, -0.5, 0.6, np.cos(0.6 * np.pi), np.sin(0.6 * np.pi)])
    for label in range(4):
        hidden = silu(W[:, :5] @ inputs + b + (W[:, 5 + label] if label < 3 else 0))
        exact = np.asarray(v.mlp.layers[1].weight) @ hidden + np.asarray(v.mlp.layers[1].bias)
        np.testing.assert_allclose(v(t, x, jnp.asarray(label)), exact, rtol=1e-4, atol=1e-6)


def test_failure_labels_missing_or_unwanted(key):
    plain, labelled = (Velocity(2, width=8, classes=c, key=key) for c in (None, 3))
    with pytest.raises(ValueError, match="a label from 0 to 3; got label=None"):
        labelled(jnp.float32(0), jnp.ones(2))
    with pytest.raises(ValueError, match=r"wants v\(t, x\)"):
        plain(jnp.float32(0), jnp.ones(2), jnp.asarray(1))
    with pytest.raises(ValueError, match="classes must"):
        Velocity(2, classes=0, key=key)
