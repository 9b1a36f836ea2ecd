"""Pairs of noise and data in eight bytes each, and the noise that a number brings back."""

import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from otlab.core.files import aside


@partial(jax.jit, static_argnames="shape")
def noise_at(key, ids, shape: tuple[int, ...]):
    """Standard normal noise numbered by ids, shape (len(ids), *shape): the same id, the same noise.

    It is what makes storage cheap: four bytes bring a noise image back, of any size.
    """
    return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), shape))(ids)


class PairSampler(eqx.Module):
    """Draws a training batch of stored pairs; a pytree, so that new pairs compile nothing."""

    root: Array
    noise_id: Int[Array, " pairs"]
    data_id: Int[Array, " pairs"]
    data: Float[Array, "m ..."]
    batch: int = eqx.field(static=True)

    def __call__(self, key):
        """(x0, x1), shape (batch, ...) each."""
        rows = jax.random.randint(key, (self.batch,), 0, len(self.noise_id))
        x0 = noise_at(self.root, self.noise_id[rows], self.data.shape[1:])
        return x0, self.data[self.data_id[rows]]


@dataclass(frozen=True)
class Pairs:
    """Coupled pairs in eight bytes each: the number of a noise and the row of a datum.

    seed: of the key from which `noise_at` restores the noise.
    noise_id: uint32 (N,).  data_id: int32 (N,).
    """

    seed: int
    noise_id: np.ndarray
    data_id: np.ndarray

    def __len__(self) -> int:
        return len(self.noise_id)

    def x0(self, rows, shape: tuple[int, ...]):
        """The noise of the given pairs, shape (len(rows), *shape)."""
        return noise_at(jax.random.key(self.seed), jnp.asarray(self.noise_id)[rows], shape)

    def sampler(self, data, batch: int) -> "PairSampler":
        """A function key → (x0, x1) for `learning.fit.fit`, drawing `batch` stored pairs."""
        return PairSampler(jax.random.key(self.seed), jnp.asarray(self.noise_id),
                           jnp.asarray(self.data_id), jnp.asarray(data), batch)

    def save(self, path) -> None:
        """Write the pairs as a compressed .npz file, under this very name."""
        with aside(path) as part, part.open("wb") as file:
            np.savez_compressed(file, seed=self.seed, noise_id=self.noise_id, data_id=self.data_id)

    @classmethod
    def load(cls, path) -> "Pairs":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: when nothing was saved there.
            ValueError: when the file is cut, or holds something else.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no pairs at {path}; make them with stream_pairs and save().")
        try:
            with np.load(path) as file:
                return cls(int(file["seed"]), file["noise_id"], file["data_id"])
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} holds no whole set of pairs ({error}); save it again with "
                             "Pairs.save.") from error
