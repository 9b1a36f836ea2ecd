"""Pairs drawn from a plan that is never stored."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from otlab.core.blocks import over_rows
from otlab.core.costs import resolve_cost
from otlab.core.inputs import whole
from otlab.core.linalg import row_argmax
from otlab.core.threefry import by_place
from otlab.couplings.entropic_ot.engine.host import shapes

TILE = 1 << 20  # entries of the plan held at a time when no block is given
COARSE = 1 << 15  # columns up to which float32 Gumbel noise of 23 bits has no visible ties


def sample_pairs(result, key, *, block=None):
    """Indices j (n,) into y: point i of x is paired with j[i], drawn from row i of the plan.

    j(i) = argmax_j log b_j + (g_j - C_ij) / epsilon + G_ij with independent Gumbel G, on
    `block` rows at a time. Stratified: every source point appears exactly once, so the source
    marginal is exact for equal weights; sampling the flattened plan repeats and drops points
    (torchcfm issue 142). Row i has its own key, hence the draw does not depend on `block`.

    Source: arXiv 2506.05526; Gumbel-max trick.
    """
    m = len(result.y)
    if block is not None and not whole(block):
        raise ValueError(
            f"sample_pairs wants block to be None or a whole number of rows >= 1; got {block!r}."
        )
    mode = "low" if m <= COARSE else "high"
    draw = partial(_sample_pairs, block=result.block if block is None else int(block), mode=mode)
    if mode == "low" and by_place(key):  # columns that are filled in change no other's noise
        draw = shapes.at_class(draw, "n")
    return draw(result, key)


@partial(jax.jit, static_argnames=("block", "mode"))
def _sample_pairs(result, key, block, mode):
    logits = jnp.log(result.b) + result.g / result.epsilon  # (m,)
    n, m = len(result.x), len(logits)
    cost = resolve_cost(result.cost)

    def gumbel(i):
        key_row = jax.random.fold_in(key, i)
        return jax.random.gumbel(key_row, (m,), logits.dtype, mode=mode)

    def rows(x, i):
        z = logits - cost(x, result.y) / result.epsilon + jax.vmap(gumbel)(i)
        return row_argmax(lax.optimization_barrier(z))[1]  # the noise is drawn once

    return over_rows(rows, block or max(1, TILE // m), result.x, jnp.arange(n))
