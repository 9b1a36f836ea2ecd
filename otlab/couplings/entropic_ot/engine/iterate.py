"""Sinkhorn iterations on a table in the log domain, and on a stored, stabilised kernel.

Both return scaled potentials p = f / epsilon, q = g / epsilon with exact columns. The first
computes exponentials in every sweep and needs no (n, m) array when told to stream. The second
stores K = exp((f + g - C) / epsilon) once, then sweeps are two matrix-vector products, and
potentials that have moved far are absorbed into a new K.

Source: Schmitzer (2019), Stabilized sparse scaling algorithms, for the absorption.
"""

import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp

from otlab.core.blocks import over_rows
from otlab.core.costs import resolve_cost
from otlab.couplings.entropic_ot.engine import anderson
from otlab.couplings.entropic_ot.engine.anderson import Point
from otlab.couplings.entropic_ot.engine.tiles import outer

FAR = 30.0  # absorb potentials that have moved by this many epsilon
CLIP = 50.0  # and let no move go farther: exp(50) times a kernel's entries still fits float32
WHOLE = 1 << 24  # entries up to which a kernel is built in one piece, twice as fast
ROWS = 512  # otherwise, rows at a time
FOUR = 4.0  # ratio of successive epsilons on the way down
LEVEL = 2  # sweeps at each


def log_sums(reduce, epsilon):
    """sums(kept, other, axis): log sum exp((kept + other - C) / epsilon) along axis.

    Near the fixed point the sums are close to one: no maximum is needed, and XLA fuses the
    table away. Where one would over- or underflow, all are done again with it.
    """

    def sums(kept, other, axis, safe=False):
        def exponents(C, k):
            return (outer(k, other, axis) - C) / epsilon

        def with_max(C, k):
            return logsumexp(exponents(C, k), axis=axis)

        def without(C, k):
            return jnp.sum(jnp.exp(exponents(C, k)), axis=axis)

        if safe:
            return reduce(with_max, kept, axis)
        total = reduce(without, kept, axis)
        usable = jnp.all((total > 1e-20) & (total < 1e30))
        return lax.cond(usable, lambda: jnp.log(total), lambda: reduce(with_max, kept, axis))

    return sums


def log_rows(reduce, a, b, epsilon):
    """rows(p, q): columns made exact from a guess q, then the row marginals at p."""
    sums = log_sums(reduce, epsilon)
    log_a, log_b = epsilon * jnp.log(a), epsilon * jnp.log(b)  # in units of C; -inf is welcome

    def rows(p, q):
        q = q - jnp.where(b > 0, sums(epsilon * q, epsilon * p + log_a, 0), 0)
        return _point(a, p, q, -sums(epsilon * p, epsilon * q + log_b, 1))

    return rows


def _point(a, p, q, r):
    r = jnp.where(a > 0, r, 0)  # points without mass wait for `complete`
    lost = ~(jnp.all(jnp.isfinite(r)) & jnp.all(jnp.isfinite(q)))
    return Point(p, q, r, jnp.where(lost, jnp.inf, jnp.sum(a * jnp.abs(jnp.expm1(-r)))))


def complete(reduce, a, b, epsilon, p, q):
    """(p, q) with soft c-transforms for points of weight zero, which no iteration moves."""
    def all_points(p, q):
        sums = log_sums(reduce, epsilon)
        f = -sums(jnp.zeros_like(p), epsilon * (q + jnp.log(b)), 1, True)
        g = -sums(jnp.zeros_like(q), epsilon * (p + jnp.log(a)), 0, True)
        return jnp.where(a > 0, p, f), jnp.where(b > 0, q, g)

    without_mass = jnp.any(a == 0) | jnp.any(b == 0)
    return lax.cond(without_mass, all_points, lambda p, q: (p, q), p, q)


def log_domain(rows, p, q, a, tol, max_steps, *, accelerate=True) -> anderson.State:
    """Iterate `rows` from (p, q) until its error is at most tol."""

    def unfinished(state):
        return ~(state.now.error <= tol) & (state.steps < max_steps)

    first = anderson.start(rows(p, q))
    return lax.while_loop(
        unfinished, lambda s: anderson.step(s, rows, a, accelerate=accelerate), first)


def kernel(x, y, cost, a, b, epsilon, p, q, tol, max_steps, shards, reduce) -> anderson.State:
    """The same on a stored kernel, built from (p, q) and again whenever they moved far."""
    cost, slow = resolve_cost(cost), log_rows(reduce, a, b, epsilon)

    def build(p, q):
        p, q = jnp.where(a > 0, p, -jnp.inf), jnp.where(b > 0, q, -jnp.inf)

        def block(x, p):
            return jnp.exp(outer(p, q, 1) - cost(x, y) / epsilon)

        rows = None if len(p) * len(q) <= WHOLE * shards else ROWS
        return over_rows(block, rows, x, p, shards=shards)

    def round_(state):
        p, q = state.now.p, state.now.q
        K = build(p, q)
        state = anderson.shift(state, p, q)

        def rows(p, _):
            p = jnp.clip(p, -CLIP, CLIP)
            q = -jnp.log(jnp.matmul(a * jnp.exp(p), K, precision="highest"))
            q = jnp.where(b > 0, q, 0)
            r = -(p + jnp.log(jnp.matmul(K, b * jnp.exp(q), precision="highest")))
            return _point(a, p, q, r)

        def near(state):
            moved = jnp.maximum(jnp.max(jnp.abs(state.now.p)), jnp.max(jnp.abs(state.now.q)))
            return (~(state.now.error <= tol) & (state.steps < max_steps) & (moved < FAR))

        here = rows(jnp.zeros_like(p), q)
        usable = jnp.isfinite(here.error)
        here = anderson.pick(usable, here, state.now)
        state = state._replace(now=here, best=here, least=here.error, steps=state.steps + 1)
        state = lax.while_loop(lambda s: usable & near(s),
                               lambda s: anderson.step(s, rows, a), state)
        state = anderson.shift(state, -p, -q)

        def one_by_logs(state):
            new = slow(state.now.p + state.now.r, state.now.q)
            return state._replace(now=new, best=new, least=new.error, steps=state.steps + 1)

        return lax.cond(usable, lambda s: s, one_by_logs, state)

    def unfinished(state):
        return ~(state.now.error <= tol) & (state.steps < max_steps)

    unknown = Point(p, q, jnp.zeros_like(p), jnp.full_like(tol, jnp.inf))
    return lax.while_loop(unfinished, round_, anderson.start(unknown, steps=0))


def anneal(reduce, a, b, epsilon, f, g, highest):
    """(f, g) after a few sweeps at each epsilon on the way from `highest` down to `epsilon`."""
    log_a, log_b = jnp.log(a), jnp.log(b)

    def level(carry):
        f, g, e = carry
        sums = log_sums(reduce, e)
        for _ in range(LEVEL):
            f = f - e * sums(f, g + e * log_b, 1)
            g = g - e * sums(g, f + e * log_a, 0)
        return f, g, jnp.where(e > epsilon, jnp.maximum(e / FOUR, epsilon), 0)

    first = f, g, jnp.maximum(highest, epsilon)
    f, g, _ = lax.while_loop(lambda c: c[2] > 0, level, first)
    return f, g
