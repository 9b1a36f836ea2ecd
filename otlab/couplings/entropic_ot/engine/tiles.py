"""Sums over the rows or columns of an (n, m) table, stored or streamed."""

from otlab.core.blocks import over_rows
from otlab.core.costs import resolve_cost


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
