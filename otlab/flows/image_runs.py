"""Image runs of every coupling alike: data by name, pairs, U-Net, training, Fréchet distance."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from otlab.core import data, devices
from otlab.core.inputs import positive_int
from otlab.flows.measures.metrics import frechet_distance
from otlab.flows.sampling import sample
from otlab.learning.checkpointing import train
from otlab.learning.classifier import FeatureCNN, features, train_features
from otlab.learning.fit import Fit
from otlab.learning.loop import FLOW_MATCHING
from otlab.learning.nets.unet import UNet


@dataclass(frozen=True)
class ImageRun:
    """Settings of one training run on images; `RUNS` has one for each data set.

    channels, blocks: of the U-Net.   steps, batch, rate, ema: of `runs.train`.
    every: steps between checkpoints.
    """

    channels: tuple[int, ...]
    blocks: int
    steps: int
    batch: int
    rate: float
    ema: float
    every: int


# Settings for a GPU but for "digits". Arithmetic of the whole run, from XLA's count for one image,
# forward and backward: mnist 2.5e15, cifar10 2.3e17, imagenet32 1.3e18 FLOP, which is 1 minute,
# 1.3 and 7.4 hours at a sustained 5e13 a second. Estimated, not run: their scores are unknown.
RUNS = {
    "digits": ImageRun((16, 32), 1, 3_000, 128, 2e-3, 0.999, 1_000),
    "mnist": ImageRun((32, 64, 128), 1, 50_000, 256, 5e-4, 0.9995, 2_000),
    "cifar10": ImageRun((128, 256, 256), 2, 200_000, 256, 2e-4, 0.9999, 2_000),
    "imagenet32": ImageRun((128, 256, 384), 3, 400_000, 512, 1e-4, 0.9999, 2_000),
}


@dataclass(frozen=True)
class ImageTask:
    """A data set cut once into what is trained on and what is compared with.

    images, test: float32 in [-1, 1], shapes (N, h, w) or (N, h, w, 3).
    labels, test_labels: int, from 0.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    source: str
    licence: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return self.images.shape[1:]

    @property
    def classes(self) -> int:
        """Number of labels."""
        return int(self.labels.max()) + 1


def image_task(name: str, *, flips: bool = False, test: float | None = None) -> ImageTask:
    """The data set of that name (see `data.images`), cut once.

    Args:
        name: "digits", "mnist", "cifar10" or "imagenet32".
        flips: True adds the mirror image of each image to train on, rows N to 2N - 1; what
            augments the data must enter a semidiscrete coupling as atoms. Not for digits,
            whose mirror images are no digits.
        test: share kept apart; None takes the set's own test images, or a fifth.

    Raises:
        FileNotFoundError: for data that are not on this machine, saying how to get them.
        ValueError: for flips of handwritten digits.
    """
    if flips and name in ("digits", "mnist"):
        raise ValueError(f"flips=True mirrors images; a mirrored digit is no digit. Leave it out "
                         f"for {name}.")
    kept, apart = data.images(name).split(test)
    images, labels = kept.images, kept.labels
    if flips:
        images, labels = np.concatenate([images, images[:, :, ::-1]]), np.tile(labels, 2)
    return ImageTask(name, images, labels, apart.images, apart.labels, kept.source, kept.licence)


class Independent(eqx.Module):
    """Draws fresh noise and, apart from it, rows of the data: the independent coupling.

    data: shape (N, ...).   batch: rows a draw.   labels: None, or one a row, (N,).
    drop: share of labels replaced by "no label", the number of labels.
    """

    data: Float[Array, "N ..."]
    labels: Int[Array, " N"] | None
    drop: float
    batch: int = eqx.field(static=True)
    classes: int = eqx.field(static=True)

    def __init__(self, data, batch: int, labels=None, drop: float = 0.0):
        self.data, self.labels, self.drop, self.batch, self.classes = _checked(
            data, batch, labels, drop)

    def __call__(self, key):
        """(x0, x1) or (x0, x1, label), `batch` rows each."""
        key_noise, key_rows, key_drop = jax.random.split(key, 3)
        rows = jax.random.randint(key_rows, (self.batch,), 0, len(self.data))
        x0 = jax.random.normal(key_noise, (self.batch, *self.data.shape[1:]), self.data.dtype)
        return _batch(self, key_drop, x0, rows)


class Coupled(eqx.Module):
    """Draws fresh noise and looks its partners up: a semidiscrete coupling, no noise used twice.

    coupling: `semidiscrete.SemidiscreteResult`, `semidiscrete_classes.ClassResult` (labels are
        drawn first, and noise of a label meets data of it), or a module with
        `sample_pairs(key, x (n, d)) -> rows` of the data.
    data, batch, labels, drop: as in `Independent`; row j of `data` is atom j of the coupling,
        which may have been solved with other coordinates of the same images.
    """

    coupling: eqx.Module
    data: Float[Array, "N ..."]
    labels: Int[Array, " N"] | None
    drop: float
    batch: int = eqx.field(static=True)
    classes: int = eqx.field(static=True)

    def __init__(self, coupling, data, batch: int, labels=None, drop: float = 0.0):
        self.data, self.labels, self.drop, self.batch, self.classes = _checked(
            data, batch, labels, drop)
        atoms = getattr(getattr(coupling, "atoms", coupling), "y", self.data)
        if len(atoms) != len(self.data):
            raise ValueError(f"the coupling has {len(atoms)} atoms and data {len(self.data)} rows; "
                             "give the images that it was solved for, in the same order.")
        self.coupling = coupling

    def __call__(self, key):
        """(x0, x1) or (x0, x1, label), `batch` rows each."""
        key_noise, key_pair, key_label, key_drop = jax.random.split(key, 4)
        x0 = jax.random.normal(key_noise, (self.batch, *self.data.shape[1:]), self.data.dtype)
        flat = x0.reshape(self.batch, -1)
        if hasattr(self.coupling, "atoms"):       # one potential a label
            drawn = jax.random.randint(key_label, (self.batch,), 0, len(self.data))
            rows = self.coupling.sample_pairs(key_pair, flat, self.coupling.labels[drawn])
        else:
            rows = self.coupling.sample_pairs(key_pair, flat)
        return _batch(self, key_drop, x0, rows)


def _checked(images, batch, labels, drop):
    images, batch = jnp.asarray(images), positive_int("batch", batch)
    if not 0 <= drop <= 1:
        raise ValueError(f"drop is a share between 0 and 1; got {drop}.")
    if labels is None:
        return images, None, 0.0, batch, 0
    labels = jnp.asarray(labels)
    if labels.shape != (len(images),):
        raise ValueError(f"labels wants one a row of data, ({len(images)},); got {labels.shape}.")
    return images, labels, float(drop), batch, int(labels.max()) + 1


def _batch(pairs, key, x0, rows):
    if pairs.labels is None:
        return x0, pairs.data[rows]
    dropped = jax.random.bernoulli(key, pairs.drop, rows.shape)
    return x0, pairs.data[rows], jnp.where(dropped, pairs.classes, pairs.labels[rows])


def train_images(key, task: ImageTask, pairs, run: ImageRun, *, folder=None,
                 mesh: Mesh | None = None, conditional: bool = False, model=None,
                 objective=FLOW_MATCHING, block: int | None = None, report=None) -> Fit:
    """Train a U-Net on coupled images with the settings of `run`; see `runs.train`.

    Args:
        key: PRNG key of weights, batches and times.
        task: gives the shape of the images and the number of labels.
        pairs: function key -> (x0, x1[, label]), such as `Independent`, `Coupled` or
            `pairing.Pairs.sampler`, drawing batches of `run.batch`.
        run: see `RUNS`.
        folder, mesh, objective, block, report: as in `runs.train`; on a CPU, block=32 saves time.
        conditional: whether the pairs bring labels.
        model: None for a new U-Net, or what training starts from.
    """
    key_model, key_train = jax.random.split(key)
    if model is None:
        model = UNet(task.shape, run.channels, blocks=run.blocks, key=key_model,
                     classes=task.classes if conditional else None)
    return train(key_train, model, pairs, steps=run.steps, batch=run.batch, rate=run.rate,
                 ema=run.ema, objective=objective, folder=folder, every=run.every, mesh=mesh,
                 block=block, report=report)


@dataclass(frozen=True)
class Judge:
    """A classifier of the data set and its features of the test images.

    accuracy: of the classifier, on images it never saw; look at it before you believe a score.
    """

    model: FeatureCNN
    accuracy: float
    reference: np.ndarray

    def frechet(self, images) -> float:
        """Fréchet distance of images (n, ...) to the test images, in 64 features of the classifier.

        Biased upwards by small n: compare equal n only. These are not Inception features, so
        the numbers are no FID of the literature.
        """
        return frechet_distance(features(self.model, images), self.reference)


def train_judge(key, task: ImageTask, *, steps: int = 1_500) -> Judge:
    """Train the classifier of `measures.features` on (at most 100,000 of) the images."""
    trained = train_features(key, task.images[:100_000], task.labels[:100_000], steps=steps)
    return Judge(trained.model, float(trained.accuracy),
                 np.asarray(features(trained.model, task.test)))


def generate(key, model, task: ImageTask, n: int, *, steps: int, method: str = "euler",
             labels=None, mesh: Mesh | None = None, block: int = 1024) -> np.ndarray:
    """n images from noise, `block` a device at a time.

    labels: None, or one an image, for a conditional model. mesh: devices to share the work.
    """
    size = block * (1 if mesh is None else mesh.shape[devices.AXIS])
    if mesh is not None:
        arrays, static = eqx.partition(model, eqx.is_array)
        model = eqx.combine(devices.replicate(arrays, mesh), static)
    parts = []
    for start in range(0, positive_int("n", n), size):
        x0 = jax.random.normal(jax.random.fold_in(key, start), (size, *task.shape))
        condition = None
        if labels is not None:                     # the last block is filled up, then cut
            condition = jnp.resize(jnp.asarray(labels)[start:start + size], size)
        if mesh is not None:
            x0 = devices.shard_rows(x0, mesh)
            condition = None if condition is None else devices.shard_rows(condition, mesh)
        x = sample(model, x0, steps=steps, method=method, condition=condition,
                   block=None if mesh is None else size)
        parts.append(np.asarray(x))
    return np.concatenate(parts)[:n]


def scores(key, model, task: ImageTask, judge: Judge, *, steps=(1, 2, 4, 8, 16),
           method: str = "euler", labels=None, mesh: Mesh | None = None,
           block: int = 1024) -> dict[int, float]:
    """{steps: Fréchet distance} of as many images as there are test images, from the same noise."""
    n = len(judge.reference)
    return {k: judge.frechet(generate(key, model, task, n, steps=k, method=method, labels=labels,
                                      mesh=mesh, block=min(block, n))) for k in steps}
