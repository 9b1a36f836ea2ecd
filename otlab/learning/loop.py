"""The loop that trains a velocity, step by step: gradient, optimiser, average."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from otlab.core.blocks import cores, on_one_cpu, threads
from otlab.core.inputs import positive_int
from otlab.flows.objectives import FlowMatching
from otlab.learning.descent import TrainState, descend, init
from otlab.learning.optimiser import Average, adam

FLOW_MATCHING = FlowMatching()


def step(key, state: TrainState, *batch: Array, objective=FLOW_MATCHING,
         block: int | None = None):
    """One gradient step on objective(key, model, *batch); pure: wrap it in eqx.filter_jit.

    Args:
        key: PRNG key of what the objective draws, such as the times.
        state: from `init` or the step before.
        batch: x0, x1 (n, ...), paired, and a condition (n, ...) when the model takes one.
        objective: a mean over rows, where `block` is given.
        block: None, or the rows differentiated at a time, a divisor of n; each block has a key of
            its own, the step is that of their mean gradient. Bounds memory; blocks that fit into
            the cache make U-Nets faster on a CPU (32 images of 8 x 8: 1.4 times, batch 256).

    Returns (state, info) with info = {"loss", "gradient_norm"}.
    """
    if block is None:
        value, grads = _slope(state.model, objective)(key, batch)
    else:
        parts = _blocks(key, batch, block)
        value, grads = jax.tree.map(lambda z: z / len(parts[0]),
                                    _sum(state.model, objective, *parts))
    return _descend(state, value, grads)


def _slope(model, objective):
    """Function (key, rows) -> the objective and its slopes in the model's weights."""
    params, static = eqx.partition(model, eqx.is_inexact_array)
    slope = jax.value_and_grad(
        lambda params, key, rows: objective(key, eqx.combine(params, static), *rows))
    return lambda key, rows: slope(params, key, rows)


def _descend(state, value, grads):
    """The state after a step of the optimiser, and what `step` tells of it."""
    squares = sum(jnp.sum(g**2) for g in jax.tree.leaves(grads))
    return descend(state, grads), {"loss": value, "gradient_norm": jnp.sqrt(squares)}


def _blocks(key, rows, block):
    """Keys (count,) and arrays (count, block, ...): a batch in blocks with a key each."""
    n = len(rows[0])
    if positive_int("block", block) > n or n % block:
        raise ValueError(f"block={block} does not divide a batch of {n} rows; take a divisor.")
    count = n // block
    # Every count-th row: rows laid out over devices stay where they are.
    parts = tuple(x.reshape(block, count, *x.shape[1:]).swapaxes(0, 1) for x in rows)
    return jax.random.split(key, count), parts


def _sum(model, objective, keys, parts):
    """Objective and slopes, summed over blocks, one block in memory at a time."""
    slope = _slope(model, objective)

    def add(total, part):
        return jax.tree.map(jnp.add, total, slope(*part)), None

    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype),
                        jax.eval_shape(slope, keys[0], tuple(x[0] for x in parts)))
    return jax.lax.scan(add, zero, (keys, parts))[0]


def _batch(key, pairs, count, batch):
    """(key of the step, its rows): what step number `count` of a run draws."""
    key_pairs, key_step = jax.random.split(jax.random.fold_in(key, count))
    if callable(pairs):
        counted = getattr(pairs, "counted", False)
        return key_step, pairs(key_pairs, count) if counted else pairs(key_pairs)
    chosen = jax.random.randint(key_pairs, (batch,), 0, len(pairs[0]))
    return key_step, tuple(x[chosen] for x in pairs)


def advance(key, state: TrainState, pairs, *, count: int, batch: int, objective=FLOW_MATCHING,
            place=lambda rows: rows, block: int | None = None):
    """`count` steps of a run begun with `begin`, as one lax.scan: (state, losses (count,)).

    Batches and times come from fold_in(key, number of the step), so that a run in pieces is the
    run in one piece. `place` may lay a batch out over devices. Call it inside a jitted function.
    """
    arrays, static = eqx.partition(state, eqx.is_array)

    def body(arrays, _):
        state = eqx.combine(arrays, static)
        key_step, rows = _batch(key, pairs, state.count, batch)
        state, info = step(key_step, state, *place(rows), objective=objective, block=block)
        return eqx.filter(state, eqx.is_array), info["loss"]

    arrays, losses = jax.lax.scan(body, arrays, length=count)
    return eqx.combine(arrays, static), losses


def shares_blocks(key, model, pairs, block: int | None) -> bool:
    """Whether `advance_on_cores` is the faster way: blocks of images on one CPU of many cores."""
    if block is None or cores() < 2 or not on_one_cpu((key, model, pairs)):
        return False
    _, rows = eqx.filter_eval_shape(_batch, key, pairs, jnp.asarray(0), 1)
    return rows[0].ndim > 2


def advance_on_cores(key, state: TrainState, pairs, *, count: int, batch: int, block: int,
                     objective=FLOW_MATCHING):
    """What `advance` computes, where each core of a CPU takes a share of the blocks of a step.

    The losses and weights are those of `advance` to rounding: sums run in another order. Python
    steps from one batch to the next, which costs half a millisecond; not under a trace.
    """
    draw = key, pairs, batch, block, cores()
    state, losses = _packed(state), []
    drawn = _first(state, draw)
    blocks = sum(len(keys) for keys, _ in drawn)
    with threads(len(drawn)) as together:
        for _ in range(count):
            sums = together(lambda share, s=state: _share(s, objective, share), drawn)
            state, loss, drawn = _next(state, sums, blocks, draw)
            losses.append(loss)
    return _unpacked(state), jnp.asarray(np.stack(losses))    # jnp.stack would compile


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


def _shares(count, draw):
    """Step number `count` draws a batch, and deals its blocks out: (keys, rows) of each share."""
    key, pairs, batch, block, shares = draw
    blocks = _blocks(*_batch(key, pairs, count, batch), block)
    shares = min(shares, len(blocks[0]))
    return [jax.tree.map(lambda x, k=k: x[k::shares], blocks) for k in range(shares)]


@eqx.filter_jit
def _first(state, draw):
    return _shares(state.tree().count, draw)


@eqx.filter_jit
def _share(state, objective, share):
    return _pack(_sum(state.tree().model, objective, *share))


@eqx.filter_jit
def _next(state, sums, blocks, draw):
    """(state after the step, its loss, shares of the next one)."""
    state = state.tree()
    value, grads = jax.tree.map(lambda *parts: sum(parts) / blocks, *(s.tree() for s in sums))
    state, info = _descend(state, value, grads)
    return _pack(state), info["loss"], _shares(state.count, draw)


def begin(model, *, steps: int, rate, ema=None, decay: float = 0.0) -> TrainState:
    """The state before the first step of `fit`: AdamW with cosine decay, and an average."""
    state = init(model, adam(decay, ema is not None))
    *first, cosine, average = state.opt_state
    rate = jnp.asarray(rate, jnp.float32)
    cosine = cosine._replace(steps=jnp.asarray(steps, rate.dtype), rate=rate)
    if ema is not None:
        average = average._replace(ema=jnp.asarray(ema, jnp.float32))
    return eqx.tree_at(lambda s: s.opt_state, state, (*first, cosine, average))


def finished(state: TrainState):
    """The model of a run begun with `begin`: its average where there is one."""
    average = state.opt_state[-1]
    if not isinstance(average, Average):
        return state.model
    # The average began at zero; what it lacks of a whole is ema ** k.
    whole = 1 - average.ema ** average.k.astype(average.ema.dtype)
    params = jax.tree.map(lambda m: m / whole.astype(m.dtype), average.weights)
    return eqx.combine(params, eqx.partition(state.model, eqx.is_inexact_array)[1])
