"""Anderson acceleration of Sinkhorn's fixed point, safeguarded by plain steps.

Sinkhorn moves the scaled potential p = f / epsilon of the rows to p + r(p), r being minus the
logarithm of the row marginals over their targets. Anderson's method combines the last few
moves so that their residuals cancel best, in the norm that the weights give; at small epsilon
it needs about a tenth of the sweeps. A move that makes things worse is taken back.

Source: Anderson (1965); Walker and Ni (2011), the unconstrained form with differences.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

MEMORY = 6  # past moves combined: 4 needs up to a third more sweeps, 10 and 20 as many
WORSE = 3.0  # a move that multiplies the least error by more than this is taken back
HOLD = 1  # plain steps after that, one more for each four moves taken back
RIDGE = 1e-5  # of the mean square of a residual difference, for normal equations in float32


class Point(NamedTuple):
    """p = f / epsilon, its partner q = g / epsilon, the residual r and the row error there."""

    p: Float[Array, " n"]
    q: Float[Array, " m"]
    r: Float[Array, " n"]
    error: Float[Array, ""]


class State(NamedTuple):
    """Where the iteration stands, the last differences, and the best point, to return to.

    hold: plain steps still to take before accelerating again. falls: moves taken back.
    """

    now: Point
    best: Point
    moves: Float[Array, "memory n"]
    changes: Float[Array, "memory n"]
    hold: Int[Array, ""]
    falls: Int[Array, ""]
    steps: Int[Array, ""]


def start(point: Point, *, steps: int = 1) -> State:
    """The state before the first move, after `steps` sweeps: one to evaluate `point`."""
    empty = jnp.zeros((MEMORY, *point.p.shape), point.p.dtype)
    zero = jnp.zeros((), jnp.int32)
    return State(point, point, empty, empty, zero, zero, zero + steps)


def step(state: State, rows, a, *, accelerate: bool = True) -> State:
    """One move and one evaluation: rows(p, q) gives the Point at p, q being a guess."""
    now, best = state.now, state.best
    if not accelerate:
        new = rows(now.p + now.r, now.q)
        return state._replace(now=new, best=new, steps=state.steps + 1)
    new = rows(now.p + jnp.where(state.hold > 0, now.r, _combined(state, a)), now.q)
    fell = ~(new.error <= WORSE * best.error)
    at = state.steps % MEMORY
    moves = lax.dynamic_update_index_in_dim(state.moves, new.p - now.p, at, 0)
    changes = lax.dynamic_update_index_in_dim(state.changes, new.r - now.r, at, 0)
    falls = state.falls + fell.astype(jnp.int32)
    hold = jnp.where(fell, HOLD + falls // 4, jnp.maximum(state.hold - 1, 0))
    return State(
        now=pick(fell, best, new),
        best=pick(new.error < best.error, new, best),
        moves=jnp.where(fell, 0, moves),
        changes=jnp.where(fell, 0, changes),
        hold=hold.astype(jnp.int32),
        falls=falls,
        steps=state.steps + 1,
    )


def _combined(state, a):
    """The move whose linearised residual is least, from the last MEMORY differences."""
    r, changes = state.now.r, state.changes
    weighted = changes * a
    gram = jnp.matmul(weighted, changes.T, precision="highest")  # (memory, memory)
    ridge = RIDGE * jnp.trace(gram) / MEMORY + jnp.finfo(r.dtype).tiny
    right = jnp.matmul(weighted, r, precision="highest")
    combine = jnp.linalg.solve(gram + ridge * jnp.eye(MEMORY, dtype=r.dtype), right)
    return r - jnp.matmul(combine, state.moves + changes, precision="highest")


def pick(condition, first: Point, second: Point) -> Point:
    """`first` where the condition holds, else `second`."""
    return Point(*(jnp.where(condition, i, j) for i, j in zip(first, second, strict=True)))


def shift(state: State, p, q) -> State:
    """The same state when potentials are counted from p and q."""
    now, best = (point._replace(p=point.p - p, q=point.q - q) for point in (state.now, state.best))
    return state._replace(now=now, best=best)
