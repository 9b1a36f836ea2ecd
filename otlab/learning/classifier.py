"""Features of a small classifier, in which images of one data set are compared."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from otlab.core.blocks import over_rows
from otlab.core.inputs import all_finite, positive_int
from otlab.learning.fit import fit
from otlab.learning.nets import initial
from otlab.learning.nets.dense import Dense
from otlab.learning.nets.unet import Conv, GroupNorm, check_image, fold, image_shape


class FeatureCNN(eqx.Module):
    """Classifier of one image (h, w), (h, w, c) or flat; `.features` gives its last 64 numbers.

    Conv, halve, conv, halve (once more above 12 pixels), then a dense layer of `width` units.

    Args:
        shape: (h, w) or (h, w, c) of the images, at least 4 x 4.
        classes: number of labels.
        width: number of features.
        key: PRNG key of the initial weights.
    """

    convs: list[Conv]
    norms: list[GroupNorm]
    dense: Dense
    head: Dense
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...] = (8, 8), classes: int = 10, width: int = 64, *, key):
        self.shape = image_shape(shape)
        h, w, colours = (*self.shape, 1)[:3]
        channels = (16, 32) if max(h, w) <= 12 else (8, 16, 32)
        if colours > 1:
            channels = tuple(2 * c for c in channels)
        keys = initial.split(key, len(channels) + 2)
        inputs = (colours, *(4 * c for c in channels[:-1]))
        self.convs = [Conv(a, b, scale=2**0.5, key=k)
                      for a, b, k in zip(inputs, channels, keys[2:], strict=True)]
        self.norms = [GroupNorm(c, 4) for c in channels]
        for _ in channels:
            h, w = -(-h // 2), -(-w // 2)
        self.dense = Dense(h * w * 4 * channels[-1], width, key=keys[0])
        self.head = Dense(width, positive_int("classes", classes, least=2), key=keys[1])

    def features(self, x: Array) -> Float[Array, " width"]:
        """The last hidden layer, after its silu."""
        check_image("FeatureCNN", x, self.shape)
        z = x.reshape(*self.shape[:2], -1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            z = jax.nn.silu(norm(conv(z)))
            z = fold(jnp.pad(z, ((0, z.shape[0] % 2), (0, z.shape[1] % 2), (0, 0))))
        return jax.nn.silu(self.dense(z.reshape(-1)))

    def __call__(self, x: Array) -> Float[Array, " classes"]:
        """Logits of one image."""
        return self.head(self.features(x))


class TrainedFeatures(eqx.Module):
    """A classifier, its accuracy, a fraction, on images it never saw, and how many those were."""

    model: FeatureCNN
    accuracy: Float[Array, ""]
    held_out: int = eqx.field(static=True)


def train_features(key, images: Array, labels: Array, *, steps: int = 1_500, batch: int = 128,
                   rate: float = 2e-3, held_out: float = 0.2) -> TrainedFeatures:
    """Train FeatureCNN to name the labels: AdamW, cosine decay, shifts by up to one pixel.

    Args:
        key: PRNG key of the split, the weights and the batches.
        images: shape (n, h, w) or (n, h, w, c), in [-1, 1].
        labels: whole numbers from 0, shape (n,).
        steps, batch, rate: gradient steps, images a step, learning rate at the first step.
        held_out: fraction of the images kept for the accuracy.

    Returns:
        TrainedFeatures(model, accuracy, held_out). The defaults give 99 % on the 8 x 8 digits.
        Judge generated images with a classifier whose accuracy you have looked at.

    Raises:
        ValueError: for other shapes, NaN, negative labels, or a fraction that leaves no image.
    """
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    if images.ndim not in (3, 4) or labels.shape != images.shape[:1]:
        raise ValueError(f"train_features wants images (n, h, w) and labels (n,), or images "
                         f"(n, h, w, c); got {images.shape} and {labels.shape}.")
    if not all_finite(images):
        raise ValueError("images hold NaN or infinite values.")
    if not jnp.issubdtype(labels.dtype, jnp.integer) or bool((labels < 0).any()):
        raise ValueError(f"labels must be whole numbers from 0; got {labels.dtype}.")
    count = int(round(held_out * len(images)))
    if not 0 < count < len(images):
        raise ValueError(f"held_out={held_out} of {len(images)} images leaves none to test or to "
                         "train on; give a fraction between 0 and 1.")
    positive_int("steps", steps), positive_int("batch", batch)
    key_split, key_model, key_fit = jax.random.split(key, 3)
    order = jax.random.permutation(key_split, len(images))
    test, train = order[:count], order[count:]
    model = FeatureCNN(images.shape[1:], max(2, int(labels.max()) + 1), key=key_model)
    shifted = Shifted(images[train], labels[train], batch)
    model = fit(key_fit, model, shifted, steps=steps, batch=batch, rate=rate, decay=1e-2,
                objective=cross_entropy).model
    right = logits(model, images[test]).argmax(1) == labels[test]
    return TrainedFeatures(model, right.mean(), count)


class Shifted(eqx.Module):
    """Draws a batch of labelled images, each moved by up to one pixel."""

    images: Float[Array, "n h w ..."]
    labels: Array
    batch: int = eqx.field(static=True)

    def __call__(self, key):
        """(images, labels), `batch` rows each."""
        key_rows, key_shift = jax.random.split(key)
        rows = jax.random.randint(key_rows, (self.batch,), 0, len(self.images))
        shifts = jax.random.randint(key_shift, (self.batch, 2), 0, 3)
        return jax.vmap(_shift)(self.images[rows], shifts), self.labels[rows]


def cross_entropy(key, model, images, labels) -> Float[Array, ""]:
    """Mean negative log-probability of the labels, an objective of `fit.fit`."""
    scores = jax.nn.log_softmax(jax.vmap(model)(images))
    return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()


def _shift(x, shift):
    """Move an image by -1, 0 or 1 pixel each way; the border repeats."""
    sides = ((1, 1), (1, 1), (0, 0))[:x.ndim]
    start = (*shift, 0)[:x.ndim]
    return jax.lax.dynamic_slice(jnp.pad(x, sides, mode="edge"), start, x.shape)


def features(model: FeatureCNN, images: Array, *, block: int = 512) -> Float[Array, "n width"]:
    """Features of images (n, h, w), (n, h, w, c) or flat, `block` at a time."""
    return _each(model, _images(images), True, block)


def logits(model: FeatureCNN, images: Array, *, block: int = 512) -> Float[Array, "n classes"]:
    """Scores of the labels of images (n, h, w), (n, h, w, c) or flat, `block` at a time."""
    return _each(model, _images(images), False, block)


@eqx.filter_jit
def _each(model, images, hidden, block):
    return over_rows(jax.vmap(model.features if hidden else model), block, images)


def _images(images):
    images = jnp.asarray(images)
    if images.ndim not in (2, 3, 4) or len(images) == 0:
        raise ValueError("images must be (n, h, w), (n, h, w, c) or flat, n at least 1; got "
                         f"{images.shape}.")
    return images
