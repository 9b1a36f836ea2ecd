"""The feature network learns, and its features are the layer under its logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otlab.learning.classifier import FeatureCNN, _shift, features, logits, train_features


@pytest.fixture(scope="module")
def bars():
    """Images 6 x 6 of one bright column (label 0) or row (label 1), with noise."""
    keys = jax.random.split(jax.random.key(0), 4)
    place = jax.random.randint(keys[0], (300, 1), 1, 5)
    labels = jax.random.randint(keys[1], (300,), 0, 2)
    line = jnp.arange(6) == place
    images = jnp.where(labels[:, None, None] == 0, line[:, None, :], line[:, :, None])
    return jnp.where(images, 1.0, -1.0) + 0.3 * jax.random.normal(keys[2], (300, 6, 6)), labels


@pytest.fixture(scope="module")
def trained(bars):
    return train_features(jax.random.key(1), *bars, steps=60, batch=32, rate=5e-3)


def test_oracle_bars_are_told_apart(trained):
    assert trained.held_out == 60 and float(trained.accuracy) > 0.95


def test_invariant_shuffled_labels_teach_nothing(bars):
    images, labels = bars
    shuffled = jax.random.permutation(jax.random.key(8), labels)
    guess = train_features(jax.random.key(1), images, shuffled, steps=60, batch=32, rate=5e-3)
    assert float(guess.accuracy) < 0.75                     # held-out images are truly unseen


def test_invariant_logits_are_the_head_of_the_features(trained, bars):
    images, model = bars[0][:60], trained.model
    z = features(model, images.reshape(60, 36))                # flat or not, the same image
    assert z.shape == (60, 64)
    np.testing.assert_allclose(logits(model, images), jax.vmap(model.head)(z), rtol=1e-4, atol=1e-4)


def test_oracle_shift_moves_by_one_pixel():
    x = jnp.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(_shift(x, jnp.array([1, 1])), x)
    np.testing.assert_array_equal(_shift(x, jnp.array([2, 1])), x[jnp.array([1, 2, 2])])


def test_gradient_flows_back_to_the_pixels(trained, bars):
    slopes = jax.jit(jax.grad(lambda x: trained.model(x)[0]))(bars[0][0])
    assert jnp.isfinite(slopes).all() and jnp.abs(slopes).max() > 0


def test_failure_sentences(bars, key):
    images, labels = bars
    with pytest.raises(ValueError, match=r"\(n, h, w\) and labels"):
        train_features(key, images.reshape(300, 36), labels)
    with pytest.raises(ValueError, match="NaN"):
        train_features(key, images.at[0].set(jnp.nan), labels)
    with pytest.raises(ValueError, match="whole numbers from 0"):
        train_features(key, images, labels - 1)
    with pytest.raises(ValueError, match="leaves none"):
        train_features(key, images, labels, held_out=1.0)
    with pytest.raises(ValueError, match=r"\(6, 6\) or \(36,\)"):
        features(FeatureCNN((6, 6), 2, key=key), jnp.zeros((2, 8, 8)))
    with pytest.raises(ValueError, match="n at least 1"):
        features(FeatureCNN((6, 6), 2, key=key), jnp.zeros((0, 6, 6)))
    with pytest.raises(ValueError, match="classes"):
        FeatureCNN((6, 6), 1, key=key)


def test_invariant_colours_are_told_apart(key):
    """Red squares from blue ones: grey levels are the same, so colour alone decides."""
    labels = jax.random.randint(key, (200,), 0, 2)
    images = -jnp.ones((200, 6, 6, 3))
    images = images.at[jnp.arange(200), 2:4, 2:4, :].add(
        2 * jax.nn.one_hot(2 * labels, 3)[:, None, None, :])
    images = images + 0.3 * jax.random.normal(key, images.shape)
    found = train_features(key, images, labels, steps=40, batch=32, rate=5e-3)
    assert float(found.accuracy) > 0.95
    assert features(found.model, images).shape == (200, 64)
    grey = jnp.repeat(images.mean(-1, keepdims=True), 3, axis=-1)
    assert float((logits(found.model, grey).argmax(1) == labels).mean()) < 0.8


def test_oracle_shift_moves_all_colours_together():
    x = jnp.arange(27.0).reshape(3, 3, 3)
    np.testing.assert_array_equal(_shift(x, jnp.array([2, 1])), x[jnp.array([1, 2, 2])])
