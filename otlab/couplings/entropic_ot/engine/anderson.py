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

import numpy as np
from jaxtyping import Array, Float, Int

from otlab.couplings.entropic_ot.engine.host.numbers import (
    choose,
    linear_solve,
    matmul,
    module_of,
    with_row,
)

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
    xp = module_of(point.p)
    empty = xp.zeros((MEMORY, *point.p.shape), point.p.dtype)
    zero = xp.zeros((), np.int32)
    one = xp.ones((), point.p.dtype)
    return State(point, point, point.error, empty, empty, zero, zero, one, zero + steps)


def step(state: State, rows, a, *, accelerate: bool = True) -> State:
    """One move and one evaluation: rows(p, q) gives the Point at p, q being a guess."""
    now, best, xp = state.now, state.best, module_of(state.now.p)
    if not accelerate:
        new = rows(now.p + now.r, now.q)
        return state._replace(now=new, best=new, least=new.error, steps=state.steps + 1)
    far, move, weighted = state.stretch > 1, _combined(state, a), a * now.r
    uphill = matmul(weighted, move) >= UPHILL * matmul(weighted, now.r)
    along = far | (state.hold > 0) | ~uphill
    new = rows(now.p + choose(along, state.stretch * now.r, move), now.q)
    fell = ~(new.error <= WORSE * best.error)
    moved, changed = new.p - now.p, new.r - now.r
    flat = matmul(a * changed, changed) <= FLAT**2 * matmul(a * new.r, new.r)
    stretch = choose(flat, 2 * state.stretch, xp.ones_like(state.stretch))
    at = state.steps % MEMORY
    moves, changes = with_row(state.moves, moved, at), with_row(state.changes, changed, at)
    falls = state.falls + fell.astype(np.int32)
    hold = choose(fell & ~far, HOLD + falls // 4, xp.maximum(state.hold - 1, 0))
    nothing = xp.zeros_like(moves)
    return State(
        now=choose(fell, best, new),
        best=choose(new.error <= (1 + LEVEL) * state.least, new, best),
        least=xp.minimum(new.error, state.least),
        moves=choose(fell, nothing, moves),
        changes=choose(fell, nothing, changes),
        hold=hold.astype(np.int32),
        falls=falls,
        stretch=choose(fell, xp.maximum(state.stretch / 4, 1), stretch),
        steps=state.steps + 1,
    )


def _combined(state, a):
    """The move whose linearised residual is least, from the last MEMORY differences."""
    r, changes, xp = state.now.r, state.changes, module_of(state.now.r)
    weighted = changes * a
    gram = matmul(weighted, changes.T)  # (memory, memory)
    ridge = RIDGE * xp.trace(gram) / MEMORY + np.finfo(r.dtype).tiny
    right = matmul(weighted, r)
    combine = linear_solve(gram + ridge * xp.eye(MEMORY, dtype=r.dtype), right)
    return r - matmul(combine, state.moves + changes)


def shift(state: State, p, q) -> State:
    """The same state when potentials are counted from p and q."""
    now, best = (point._replace(p=point.p - p, q=point.q - q) for point in (state.now, state.best))
    return state._replace(now=now, best=best)
