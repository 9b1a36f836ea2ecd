"""Sums over the rows or columns of an (n, m) table, stored or streamed."""

import jax.numpy as jnp
from jax import lax

from otlab.core.costs import resolve_cost


def over_rows(fn, block, *arrays, shards=1):
    """`fn(*arrays)`, `block` leading rows at a time; fn maps rows to rows.

    The last block is filled up with copies of the final row, whose results are dropped. Where
    the rows lie on `shards` devices, a tile takes `block` rows from each, so none travels.
    """
    n = len(arrays[0]) // shards
    if block is None or block >= n:
        return fn(*arrays)
    count = -(-n // block)
    rows = jnp.minimum(jnp.arange(count * block), n - 1)

    def tiled(array):
        tail = array.shape[1:]
        array = array.reshape(shards, n, *tail)[:, rows].reshape(shards, count, block, *tail)
        return jnp.moveaxis(array, 1, 0).reshape(count, shards * block, *tail)

    out = lax.map(lambda tile: fn(*tile), tuple(map(tiled, arrays)))
    tail = out.shape[2:]
    out = jnp.moveaxis(out.reshape(count, shards, block, *tail), 1, 0)
    return out.reshape(shards, count * block, *tail)[:, :n].reshape(shards * n, *tail)


def reducer(x, y, cost, block, shards=1):
    """A function reduce(fn, kept, axis) over the table C = cost(x, y).

    axis=1 keeps rows: fn(C, kept) gets C (rows, m) with kept (rows,) and returns (rows, …).
    axis=0 keeps columns: C (n, columns) with kept (columns,). With `block` set only that
    many rows or columns of C exist at a time, on each of the `shards` devices that hold rows
    of x; with None, C is computed once and kept.
    """
    cost = resolve_cost(cost)
    if block is None:
        C = cost(x, y)
        return lambda fn, kept, axis: fn(C, kept)

    def reduce(fn, kept, axis):
        if axis == 1:
            return over_rows(lambda rows, k: fn(cost(rows, y), k), block, x, kept, shards=shards)
        return over_rows(lambda columns, k: fn(cost(x, columns), k), block, y, kept)

    return reduce


def outer(kept, other, axis):
    """kept + other as a table, kept along rows (axis=1) or along columns (axis=0)."""
    return kept[:, None] + other if axis == 1 else other[:, None] + kept
