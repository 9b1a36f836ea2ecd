"""Pairs of fresh noise and data that know nothing of each other, as a training loop draws them."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Independent(eqx.Module):
    """(x0, x1) or (x0, x1, label), `batch` rows each; a fraction `drop` of labels is hidden.

    data: shape (N, ...).   labels: None, or (N,); hidden ones are the number of labels.
    """

    data: Float[Array, "N ..."]
    labels: Int[Array, " N"] | None
    drop: float
    batch: int = eqx.field(static=True)

    def __init__(self, data, batch: int, labels=None, drop: float = 0.0):
        self.data, self.batch, self.drop = jnp.asarray(data), batch, drop
        self.labels = None if labels is None else jnp.asarray(labels)

    def __call__(self, key):
        key_noise, key_rows, key_drop = jax.random.split(key, 3)
        rows = jax.random.randint(key_rows, (self.batch,), 0, len(self.data))
        x0 = jax.random.normal(key_noise, (self.batch, *self.data.shape[1:]), self.data.dtype)
        if self.labels is None:
            return x0, self.data[rows]
        hidden = jax.random.bernoulli(key_drop, self.drop, rows.shape)
        return x0, self.data[rows], jnp.where(hidden, self.labels.max() + 1, self.labels[rows])
