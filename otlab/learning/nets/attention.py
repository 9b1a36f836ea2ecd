"""Attention of several heads under a mask, and the three masks: causal, prefix, full."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from otlab.core.inputs import number


def causal_mask(length: int, queries: Int[Array, " t"] | None = None) -> Bool[Array, "t length"]:
    """Token i sees the tokens 0 to i. `queries`: the i wanted; None takes all of `length`."""
    queries = jnp.arange(length) if queries is None else jnp.asarray(queries)
    return queries[:, None] >= jnp.arange(length, dtype=queries.dtype)


def prefix_mask(prefix, length: int, queries=None) -> Bool[Array, "t length"]:
    """The first `prefix` tokens see each other; a later one sees all up to itself.

    Causal for prefix = 0 or 1, full for prefix = length. One prefix a sequence under jax.vmap.

    Source: AIM (El-Nouby et al., 2024, arXiv 2401.08541), section 3: A_ij = [j <= i] or [j < S].
    """
    number("prefix", prefix, lambda prefix: (prefix >= 0) & (prefix <= length),
           f"between 0 and the length, {length}")
    return causal_mask(length, queries) | (jnp.arange(length) < prefix)


def full_mask(length: int, queries=None) -> Bool[Array, "t length"]:
    """Every token sees every token."""
    return jnp.ones((length if queries is None else len(queries), length), bool)


def attend(q: Float[Array, "t heads c"], k: Float[Array, "s heads c"], v: Float[Array, "s heads c"],
           mask: Bool[Array, "t s"], scale: float | None = None) -> Float[Array, "t heads c"]:
    """softmax(scale q k^T) v, over the keys that the mask shows (True) to each query.

    scale: None takes 1 / sqrt(c). The softmax is that of float32, or of float64 for float64; a
    query that sees no key gets NaN. (`jax.nn.dot_product_attention` rounds float64 to float32,
    and gives such a query the mean of all values, hidden ones too.)
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    wide = at_least_float32(q.dtype)
    logits = scale * jnp.einsum("thc,shc->hts", q, k, preferred_element_type=wide)
    weights = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf), axis=-1)
    return jnp.einsum("hts,shc->thc", weights.astype(v.dtype), v)


def at_least_float32(dtype):
    """The type of sums that must not be rounded to 16 bits."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)
