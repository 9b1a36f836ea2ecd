"""Many rows through a function, a block of them at a time, so that memory stays bounded."""

import jax
import jax.numpy as jnp


def in_blocks(function, rows, block: int):
    """function(rows) for a function that treats rows alike, at most `block` of them at a time.

    rows: a pytree of arrays with a leading axis n. The blocks are made even and the last is
    filled up with copies of the first row, so that `function` is compiled once.
    """
    n = len(jax.tree.leaves(rows)[0])
    blocks = -(-n // block)
    if blocks == 1:
        return function(rows)
    size = -(-n // blocks)

    def cut(x):
        filler = jnp.broadcast_to(x[:1], (blocks * size - n, *x.shape[1:]))
        return jnp.concatenate([x, filler]).reshape(blocks, size, *x.shape[1:])

    results = jax.lax.map(function, jax.tree.map(cut, rows))
    return jax.tree.map(lambda y: y.reshape(blocks * size, *y.shape[2:])[:n], results)
