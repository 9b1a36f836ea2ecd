"""What makes training fast on a CPU: each core takes some blocks of a step, calls carry few arrays.

A reader of the method never needs this module: `advance` is `loop.advance`, to rounding.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from otlab.core.blocks import cores, on_one_cpu, threads


def many(tree) -> bool:
    """Whether this runs now, under no trace, on one CPU of two cores or more."""
    return cores() > 1 and on_one_cpu(tree)


def advance(deal, state, count: int):
    """`count` steps, each core of the CPU taking some of the blocks of every step.

    Args:
        deal: a step in pieces: `blocks(state)` -> (keys, arrays) with a leading axis of blocks;
            `summed(state, keys, arrays)` -> a pytree of sums over them;
            `descend(state, *means)` -> (state, info). A pytree.
        state: pytree that the steps carry.
        count: number of steps.

    Returns (state, {name: (count, ...) numbers of info}), without the gradient's norm.

    Sums run in another order than in one compiled loop. Python steps from one batch to the next,
    which costs half a millisecond; not under a trace.
    """
    state, told = _packed(state), []
    dealt = _begun(state, deal, cores())
    blocks = sum(len(keys) for keys, _ in dealt)
    with threads(len(dealt)) as together:
        for _ in range(count):
            sums = together(lambda hand, s=state: _hand(s, deal, hand), dealt)
            state, info, dealt = _stepped(state, sums, blocks, deal, cores())
            told.append(info)
    history = jax.tree.map(lambda *each: jnp.asarray(np.stack(each)), *told)  # jnp.stack compiles
    return _unpacked(state), history


class _Packed(eqx.Module):
    """A pytree whose arrays are one vector a dtype: a call with 150 arrays takes a millisecond."""

    vectors: dict[str, Array]
    layout: "_Layout" = eqx.field(static=True)

    def tree(self):
        at, leaves = dict.fromkeys(self.vectors, 0), []
        for dtype, shape in self.layout.shapes:
            start = at[dtype]
            at[dtype] += math.prod(shape)
            leaves.append(self.vectors[dtype][start:at[dtype]].reshape(shape))
        arrays = jax.tree.unflatten(self.layout.structure, leaves)
        return eqx.combine(arrays, self.layout.rest)


class _Layout:
    """All of a pytree but the numbers; hashed once, since each call asks for it."""

    def __init__(self, rest, shapes: tuple, structure):
        self.rest, self.shapes, self.structure = rest, shapes, structure
        leaves, outer = jax.tree.flatten(rest)
        self._all = shapes, structure, outer, tuple(leaves)
        self._hash = hash(self._all)

    def __hash__(self):
        return self._hash

    def __eq__(self, other):
        return self is other or (isinstance(other, _Layout) and self._all == other._all)


def _pack(tree) -> _Packed:
    arrays, rest = eqx.partition(tree, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    flat = {}
    for x in leaves:
        flat.setdefault(str(x.dtype), []).append(x.ravel())
    vectors = {dtype: jnp.concatenate(parts) for dtype, parts in flat.items()}
    shapes = tuple((str(x.dtype), x.shape) for x in leaves)
    return _Packed(vectors, _Layout(rest, shapes, structure))


_packed = eqx.filter_jit(_pack)
_unpacked = eqx.filter_jit(_Packed.tree)


def _hands(state, deal, count):
    """The blocks of the next step, dealt out: (keys, arrays) of each core."""
    blocks = deal.blocks(state)
    count = min(count, len(blocks[0]))
    return [jax.tree.map(lambda x, k=k: x[k::count], blocks) for k in range(count)]


@eqx.filter_jit
def _begun(state, deal, count):
    return _hands(state.tree(), deal, count)


@eqx.filter_jit
def _hand(state, deal, hand):
    return _pack(deal.summed(state.tree(), *hand))


@eqx.filter_jit
def _stepped(state, sums, blocks, deal, count):
    """(state after the step, what it tells, the hands of the next one)."""
    state = state.tree()
    means = jax.tree.map(lambda *parts: sum(parts) / blocks, *(s.tree() for s in sums))
    state, info = deal.descend(state, *means)
    del info["gradient_norm"]
    return _pack(state), info, _hands(state, deal, count)
