"""Averaged SGD on the semidual in units of <x, y>, and the test that stops it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from otlab.core.status import Status
from otlab.couplings.laguerre.problem import Problem

DECAY, POWER = 5, 0.75  # of the rate, see `slower`
MARGIN = 0.25  # of tol: two standard deviations of the estimate that may stop the solver
GROWTH = (1.2, 2.0)  # from one judgement to the next, the steps done grow by such a factor


class State(eqx.Module):
    """Where SGD stands. g: last iterate. mean: its running average. k: steps done.

    Both potentials have shape (m,), in units of the cost.
    """

    g: Float[Array, " m"]
    mean: Float[Array, " m"]
    k: Int[Array, ""]


def slower(k):
    """(1 + k / DECAY)^-POWER, by which the rate has fallen at step k.

    POWER between 1/2 and 1 is where an average of iterates is optimal without knowing the
    curvature; 1 / k stalls where the curvature is small beside 1 / rate, as with few atoms.

    Source: Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging.
    """
    return (1 + k / DECAY) ** -POWER


def advance(problem: Problem, state: State, masses, rate) -> State:
    """One step g += rate (b - masses), and the running average of the iterates.

    Iterate k has weight k + 1 in the average: three quarters of it are the second half, and no
    length needs to be fixed in advance. On digits, 600 steps of 256, it leaves a chi2 of 0.0139,
    where weights (k + 1)(k + 2) leave 0.0160 and the last iterate 0.036.

    Source: polynomial-decay averaging, Shamir and Zhang (2013), arXiv 1212.1824, with eta = 1.
    """
    g = state.g + rate * (problem.b - masses)
    weight = 2 / (state.k + 2).astype(g.dtype)
    return State(g, state.mean + weight * (g - state.mean), state.k + 1)


def accumulate(problem: Problem, key, sample, h, batches, size):
    """(total, squares) of `shares` over `batches` batches of `size` fresh noise points."""

    def add(i, sums):
        x = sample(jax.random.fold_in(key, i), size).astype(h.dtype)
        return jax.tree.map(jnp.add, sums, problem.shares(x, h))

    return lax.fori_loop(0, batches, add, (jnp.zeros_like(h), jnp.zeros_like(h)))


def deviation(count, tol, n):
    """Standard deviation of the unbiased chi2 from n points where chi2 = tol, from above.

    Two terms: 2 count / n^2 of pairs that meet by chance, largest at epsilon = 0, and 4 tol / n.
    """
    return jnp.sqrt(2 * count / n / n + 4 * tol / n)


def enough(count, tol):
    """Noise points at which two deviations are MARGIN tol."""
    c = (MARGIN / 2) ** 2 * tol
    return (2 + jnp.sqrt(4 + 2 * count * c / tol)) / c


def judge(problem: Problem, key, sample, h, tol, size):
    """(chi2, passed): the unbiased estimate at h, and whether it is below (1 - MARGIN) tol.

    A few points may say no, only `enough` of them yes.
    """
    count = problem.count()
    most, goal = enough(count, tol), (1 - MARGIN) * tol

    def undecided(carry):
        *_, n, chi2 = carry
        return (n < most) & ((n == 0) | (chi2 - 2 * deviation(count, tol, n) < goal))

    def more(carry):
        total, squares, batch, n, _ = carry
        x = sample(jax.random.fold_in(key, batch), size).astype(h.dtype)
        sums = problem.shares(x, h)
        total, squares, n = total + sums[0], squares + sums[1], n + size
        chi2 = problem.chi2(total, squares, n)
        return total, squares, batch + 1, n, jnp.where(jnp.isfinite(jnp.sum(x)), chi2, jnp.nan)

    zero = jnp.zeros((), h.dtype)
    first = (jnp.zeros_like(h), jnp.zeros_like(h), jnp.zeros((), jnp.int32), zero, zero)
    *_, n, chi2 = lax.while_loop(undecided, more, first)
    return chi2, (n >= most) & (chi2 <= goal)


def ascend(problem: Problem, key, sample, state: State, rate, tol, max_steps, *, batch, size):
    """Steps and judgements in turn until one passes; returns (State, chi2, status).

    The first judgement comes at once, for a start that will do, the second after half of the
    count / (tol batch) steps that an average over so many noise points needs at epsilon = 0;
    from then on chi2 falling as 1 / k says when to look again.
    """
    key_steps, key_looks = jax.random.split(key)
    last = state.k + max_steps
    wait = jnp.clip(problem.count() / (2 * tol * batch), 16, 1 << 24).astype(jnp.int32)

    def one(state):
        x = sample(jax.random.fold_in(key_steps, state.k), batch).astype(state.g.dtype)
        return advance(problem, state, problem.shares(x, state.g)[0] / batch, rate(state.k))

    def unfinished(carry):
        state, _, _, status, looks = carry
        return (status == Status.MAX_STEPS) & ((state.k < last) | (looks == 0))

    def stretch(carry):
        state, target, _, _, looks = carry
        state = lax.while_loop(lambda s: s.k < target, one, state)
        chi2, passed = judge(problem, jax.random.fold_in(key_looks, looks), sample, state.mean,
                             tol, size)
        finite = jnp.isfinite(chi2) & jnp.isfinite(jnp.sum(state.mean))
        status = jnp.where(passed, code(Status.CONVERGED), code(Status.MAX_STEPS))
        status = jnp.where(finite, status, code(Status.NONFINITE))
        growth = jnp.clip(chi2 / ((1 - 1.5 * MARGIN) * tol), *GROWTH)
        target = jnp.ceil(state.k.astype(growth.dtype) * growth).astype(jnp.int32)
        target = jnp.maximum(wait, target)
        return state, jnp.minimum(target, last), chi2, status, looks + 1

    def code(status):
        return jnp.asarray(status, jnp.int32)

    first = (state, state.k, jnp.zeros((), state.g.dtype), code(Status.MAX_STEPS), code(0))
    state, _, chi2, status, _ = lax.while_loop(unfinished, stretch, first)
    return state, chi2, status
