"""Anderson acceleration of Sinkhorn's fixed point, safeguarded by plain steps.

Sinkhorn moves the scaled potential p = f / epsilon of the rows to p + r(p), r being minus the
logarithm of the row marginals over their targets. Anderson's method combines the last few
moves so that their residuals cancel best, in the norm that the weights give; at small epsilon
it needs about a tenth of the iterations. A move that makes things worse is taken back.

Groups of points that hardly see each other make the residual flat: it stays the same while the
potentials of a whole group drift by hundreds of epsilon. Differences say nothing there; moves
along the residual then double for as long as it stays flat.

Source: Anderson (1965); Walker and Ni (2011), the unconstrained form with differences.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

MEMORY = 6  # past moves combined: 4 needs up to a third more sweeps, 10 and 20 as many
WORSE = 3.0  # a move that multiplies the least error by more than this is taken back
HOLD = 1  # plain steps after that, one more for each four moves taken back
UPHILL = 0.5  # of |r|^2: what a move must have along r; Newton's has at least all of it
LEVEL = 0.01  # two errors are level when they differ by less than this share
FLAT = 0.02  # a move that changes the residual by less than this share may be stretched
RIDGE = 1e-5  # of the mean square of a residual difference, for normal equations in float32


class Point(NamedTuple):
    """p = f / epsilon, its partner q = g / epsilon, the residual r and the row error there."""

    p: Float[Array, " n"]
    q: Float[Array, " m"]
    r: Float[Array, " n"]
    error: Float[Array, ""]


class State(NamedTuple):
    """Where the iteration stands, the last differences, and a good point to return to.

    best: the last point whose error was level with the least so far.
    hold: plain steps still to take before accelerating again. falls: moves taken back.
    stretch: above 1, how many plain moves to take at once.
    """

    now: Point
    best: Point
    least: Float[Array, ""]
    moves: Float[Array, "memory n"]
    changes: Float[Array, "memory n"]
    hold: Int[Array, ""]
    falls: Int[Array, ""]
    stretch: Float[Array, ""]
    steps: Int[Array, ""]


def start(point: Point, *, steps: int = 1) -> State:
    """The state before the first move, after `steps` sweeps: one to evaluate `point`."""
    empty = jnp.zeros((MEMORY, *point.p.shape), point.p.dtype)
    zero = jnp.zeros((), jnp.int32)
    one = jnp.ones((), point.p.dtype)
    return State(point, point, point.error, empty, empty, zero, zero, one, zero + steps)


def step(state: State, rows, a, *, accelerate: bool = True) -> State:
    """One move and one evaluation: rows(p, q) gives the Point at p, q being a guess."""
    now, best = state.now, state.best
    if not accelerate:
        new = rows(now.p + now.r, now.q)
        return state._replace(now=new, best=new, least=new.error, steps=state.steps + 1)
    far, move = state.stretch > 1, _combined(state, a)
    uphill = jnp.sum(a * move * now.r) >= UPHILL * jnp.sum(a * now.r**2)
    along = far | (state.hold > 0) | ~uphill
    new = rows(now.p + jnp.where(along, state.stretch * now.r, move), now.q)
    fell = ~(new.error <= WORSE * best.error)
    flat = jnp.sum(a * (new.r - now.r) ** 2) <= FLAT**2 * jnp.sum(a * new.r**2)
    stretch = jnp.where(flat, 2 * state.stretch, 1)
    at = state.steps % MEMORY
    moves = lax.dynamic_update_index_in_dim(state.moves, new.p - now.p, at, 0)
    changes = lax.dynamic_update_index_in_dim(state.changes, new.r - now.r, at, 0)
    falls = state.falls + fell.astype(jnp.int32)
    hold = jnp.where(fell & ~far, HOLD + falls // 4, jnp.maximum(state.hold - 1, 0))
    return State(
        now=pick(fell, best, new),
        best=pick(new.error <= (1 + LEVEL) * state.least, new, best),
        least=jnp.minimum(new.error, state.least),
        moves=jnp.where(fell, 0, moves),
        changes=jnp.where(fell, 0, changes),
        hold=hold.astype(jnp.int32),
        falls=falls,
        stretch=jnp.where(fell, jnp.maximum(state.stretch / 4, 1), stretch),
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
