"""The one training loop: what a run carries, one step, many steps; the objective is yours."""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from otlab.core.inputs import positive_int
from otlab.learning import cores


class Step(NamedTuple):
    """Where a run is: steps done before this one, and steps of the whole run (0: not known).

    A source, an objective or an optimiser's `update` with a parameter named `step` is given one,
    as in `def __call__(self, key, *, step)`. What wraps another of them passes it on by
    `with_step(inner, step)`.
    """

    count: Int[Array, ""]
    total: Int[Array, ""]

    @property
    def fraction(self) -> Float[Array, ""]:
        """Of the run that is done, in [0, 1): what a schedule wants; 0 where total is not known."""
        count, total = (x.astype(jnp.float32) for x in self)
        return count / jnp.where(total > 0, total, jnp.inf)


def takes_step(function) -> bool:
    """Whether a function has a parameter of the name `step`; a catch-all of keywords is none."""
    try:
        found = inspect.signature(function).parameters.get("step")
    except (TypeError, ValueError):                # built in, without a signature
        return False
    return found is not None and found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY)


def with_step(function: Callable, step: Step | None) -> Callable:
    """The function, told the step where it takes one and there is one."""
    told = step is not None and takes_step(function)
    return functools.partial(function, step=step) if told else function


class Average(NamedTuple):
    """Exponential average of the weights, begun at zero, and what it keeps in a step."""

    weights: object
    ema: Float[Array, ""]


class TrainState(eqx.Module):
    """What training carries from step to step."""

    model: eqx.Module
    opt_state: object
    step: Step
    average: Average | None
    optimizer: object

    @property
    def count(self) -> Int[Array, ""]:
        """Number of steps done."""
        return self.step.count


def init(model, optimizer, *, steps=0, ema=None) -> TrainState:
    """Start training the inexact arrays of `model`.

    Args:
        model: any pytree.
        optimizer: `optimiser.AdamW`, or any optax optimiser.
        steps: of the whole run, for what follows a schedule; 0 where nothing asks.
        ema: None, or what an average of the weights keeps in a step, such as 0.999.
    """
    params = eqx.filter(model, eqx.is_inexact_array)
    step = Step(jnp.zeros((), jnp.int32), jnp.asarray(steps, jnp.int32))
    average = None
    if ema is not None:
        zeros = jax.tree.map(jnp.zeros_like, params)
        average = Average(zeros, jnp.asarray(ema, jnp.float32))
    return TrainState(model, optimizer.init(params), step, average, optimizer)


def finished(state: TrainState):
    """The model that a run ends with: the average of its weights where there is one."""
    if state.average is None:
        return state.model
    # The average began at zero; what it lacks of a whole is ema ** count.
    ema = state.average.ema
    whole = 1 - ema ** state.count.astype(ema.dtype)
    params = jax.tree.map(lambda m: m / whole.astype(m.dtype), state.average.weights)
    return eqx.combine(params, eqx.partition(state.model, eqx.is_inexact_array)[1])


def step(key, state: TrainState, *rows: Array, objective, block: int | None = None):
    """One gradient step on objective(key, model, *rows); pure: wrap it in eqx.filter_jit.

    Args:
        key: PRNG key of what the objective draws.
        state: from `init` or the step before.
        rows: arrays (n, ...) of one batch.
        objective: function (key, model, *rows) -> a number, or (a number, a dict of numbers to
            keep a record of); a mean over rows, where `block` is given.
        block: None, or the rows differentiated at a time, a divisor of n; each block has a key of
            its own, the step is that of their mean gradient. Bounds memory; blocks that fit into
            the cache make U-Nets faster on a CPU (32 images of 8 x 8: 1.4 times, batch 256).

    Returns (state, info), info with "loss", "gradient_norm" and what the objective told.

    Raises:
        ValueError: for a block that does not divide the batch.
    """
    if block is None:
        parts = gradient(objective, state)(key, rows)
    else:
        blocks = in_blocks(key, rows, block)
        parts = jax.tree.map(lambda z: z / len(blocks[0]), summed(objective, state, *blocks))
    return descend(state, *parts)


def gradient(objective, state: TrainState):
    """Function (key, rows) -> ((loss, what the objective told), gradient in the weights)."""
    objective = with_step(objective, state.step)
    params, static = eqx.partition(state.model, eqx.is_inexact_array)

    def value(params, key, rows):
        out = objective(key, eqx.combine(params, static), *rows)
        return out if isinstance(out, tuple) else (out, {})

    return functools.partial(jax.value_and_grad(value, has_aux=True), params)


def in_blocks(key, rows, block: int):
    """Keys (count,) and arrays (count, block, ...): a batch in blocks with a key each."""
    n = len(rows[0])
    if positive_int("block", block) > n or n % block:
        raise ValueError(f"block={block} does not divide a batch of {n} rows; take a divisor.")
    count = n // block
    # Every count-th row: rows laid out over devices stay where they are.
    parts = tuple(x.reshape(block, count, *x.shape[1:]).swapaxes(0, 1) for x in rows)
    return jax.random.split(key, count), parts


def summed(objective, state: TrainState, keys, parts):
    """What `gradient` gives, summed over blocks, one block in memory at a time."""
    one = gradient(objective, state)

    def add(total, part):
        return jax.tree.map(jnp.add, total, one(*part)), None

    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype),
                        jax.eval_shape(one, keys[0], tuple(x[0] for x in parts)))
    return jax.lax.scan(add, zero, (keys, parts))[0]


def descend(state: TrainState, value, grads):
    """(the state after a step of the optimiser, what `step` tells of it).

    value: (loss, what the objective told).   grads: as `eqx.filter_grad` gives them.
    """
    loss, told = value
    squares = sum(jnp.sum(g**2) for g in jax.tree.leaves(grads))
    info = told | {"loss": loss, "gradient_norm": jnp.sqrt(squares)}
    params, static = eqx.partition(state.model, eqx.is_inexact_array)
    update = with_step(state.optimizer.update, state.step)
    with jax.numpy_dtype_promotion("standard"):    # optax mixes int32 counters with floats
        changes, opt_state = update(grads, state.opt_state, params)
    params, average = optax.apply_updates(params, changes), state.average
    if average is not None:
        average = average._replace(weights=jax.tree.map(
            lambda m, p: p + average.ema.astype(p.dtype) * (m - p), average.weights, params))
    next_step = state.step._replace(count=state.count + 1)
    return TrainState(eqx.combine(params, static), opt_state, next_step, average,
                      state.optimizer), info


def as_it_is(rows):
    """A batch stays where it was made."""
    return rows


class Run(eqx.Module):
    """What stays the same from step to step.

    key: PRNG key; step k draws from fold_in(key, k), so a run in pieces is the run in one piece.
    source: arrays of one length, of which each step draws `batch` rows with replacement, or a
        function key -> arrays (n, ...) of a fresh batch.
    objective, block: as in `step`.
    place: what may lay a batch out over devices, a function of its arrays.
    """

    key: Array
    source: Callable | tuple[Array, ...]
    objective: Callable
    batch: int = eqx.field(static=True)
    block: int | None = eqx.field(static=True, default=None)
    place: Callable = as_it_is

    def draw(self, step: Step):
        """(key of the objective, the rows) of a step."""
        key_rows, key_step = jax.random.split(jax.random.fold_in(self.key, step.count))
        if callable(self.source):
            rows = with_step(self.source, step)(key_rows)
        else:
            chosen = jax.random.randint(key_rows, (self.batch,), 0, len(self.source[0]))
            rows = tuple(x[chosen] for x in self.source)
        return key_step, self.place(rows)


def take(run: Run, state: TrainState):
    """The next step of a run: (state, info), as `step` gives them."""
    key, rows = run.draw(state.step)
    return step(key, state, *rows, objective=run.objective, block=run.block)


def advance(run: Run, state: TrainState, count: int):
    """`count` steps of a run: (state, {name: (count,) numbers}), "loss" among the names.

    One compiled loop; or, where that is faster, steps whose blocks the cores of a CPU share: the
    losses and weights are the same to rounding.
    """
    if shares_blocks(run, state.model):
        return cores.advance(Dealt(run), state, count)
    return _advance(run, state, count)


def shares_blocks(run: Run, model) -> bool:
    """Whether the cores of this machine share the blocks of a step: images, on one CPU of many."""
    if run.block is None or run.place is not as_it_is or not cores.many((run, model)):
        return False
    _, rows = eqx.filter_eval_shape(run.draw, Step(*jnp.zeros(2, jnp.int32)))
    return rows[0].ndim > 2


class Dealt(eqx.Module):
    """A step of a run in the pieces that `cores.advance` deals out."""

    run: Run

    def blocks(self, state):
        """The batch of the next step, in blocks: keys (count,), arrays (count, block, ...)."""
        return in_blocks(*self.run.draw(state.step), self.run.block)

    def summed(self, state, keys, parts):
        """Losses and gradients of some of the blocks, summed."""
        return summed(self.run.objective, state, keys, parts)

    def descend(self, state, value, grads):
        """(state one step later, info) from the means over all blocks."""
        return descend(state, value, grads)


@eqx.filter_jit
def _advance(run, state, count):
    arrays, static = eqx.partition(state, eqx.is_array)

    def body(arrays, _):
        state, info = take(run, eqx.combine(arrays, static))
        del info["gradient_norm"]
        return eqx.filter(state, eqx.is_array), info

    arrays, history = jax.lax.scan(body, arrays, length=count)
    return eqx.combine(arrays, static), history
