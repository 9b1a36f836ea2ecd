"""Pairs drawn from a plan that is never stored."""

from functools import partial

import jax
import jax.numpy as jnp

from otlab.core.costs import resolve_cost
from otlab.couplings.tiles import over_rows

TILE = 1 << 20  # entries of the plan held at a time when no block is given


def sample_pairs(result, key, *, block=None):
    """Indices j (n,) into y: point i of x is paired with j[i], drawn from row i of the plan.

    j(i) = argmax_j log b_j + (g_j - C_ij) / epsilon + G_ij with independent Gumbel G, on
    `block` rows at a time. Stratified: every source point appears exactly once, so the source
    marginal is exact for equal weights; sampling the flattened plan repeats and drops points
    (torchcfm issue 142). Row i has its own key, hence the draw does not depend on `block`.

    Source: arXiv 2506.05526; Gumbel-max trick.
    """
    n, m = len(result.x), len(result.y)
    if block is not None and (int(block) != block or block < 1):
        raise ValueError(
            f"sample_pairs wants block to be None or a number of rows >= 1; got {block!r}."
        )
    block = result.block or max(1, TILE // m) if block is None else int(block)
    return _sample_pairs(result, key, min(block, n))


@partial(jax.jit, static_argnums=2)
def _sample_pairs(result, key, block):
    logits = jnp.log(result.b) + result.g / result.epsilon  # (m,)
    cost = resolve_cost(result.cost)

    def rows(x, i):
        keys = jax.vmap(partial(jax.random.fold_in, key))(i)
        noise = jax.vmap(lambda k: jax.random.gumbel(k, logits.shape, logits.dtype))(keys)
        z = logits - cost(x, result.y) / result.epsilon + noise
        return jnp.argmax(z, axis=1).astype(jnp.int32)

    return over_rows(rows, block, result.x, jnp.arange(len(result.x)))
