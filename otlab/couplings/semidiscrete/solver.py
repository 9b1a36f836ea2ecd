"""Semidiscrete optimal transport by averaged SGD: continuous noise against weighted atoms."""

from collections.abc import Callable
from functools import lru_cache, partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from otlab.core import data
from otlab.core.costs import resolve_cost, std_cost
from otlab.core.inputs import all_finite, known
from otlab.core.status import REMEDY, Status
from otlab.couplings.semidiscrete.laguerre import ascent, cells, inputs, matching
from otlab.couplings.semidiscrete.laguerre.ascent import State
from otlab.couplings.semidiscrete.laguerre.duplicates import note_on_copies
from otlab.couplings.semidiscrete.laguerre.problem import from_cost, over_mesh

RATE = 0.05  # first step, in units of m std(C)


class Info(eqx.Module):
    """What one batch of noise says of the iterate before the step.

    masses: share of the batch in every cell, shape (m,). chi2: their unbiased distance from b.
    """

    masses: Float[Array, " m"]
    chi2: Float[Array, ""]


class SemidiscreteResult(eqx.Module):
    """The coupling of a noise law with atoms y of weights b, as one number an atom.

    g: averaged potential, shape (m,), in units of the cost, with sum_j b_j g_j = 0.
    chi2: unbiased estimate of sum_j m_j^2 / b_j - 1, m_j the masses of its cells, from fresh
        noise: the squared relative error of a cell, averaged over b. It is the estimate that
        stopped the solver, hence a lucky one on average; `fresh_chi2` has no such bias.
    steps: SGD steps done.   status: a `Status`; require_converged() turns it into words.
    state: the last iterate and the average; pass it as init= to go on.
    """

    g: Float[Array, " m"]
    chi2: Float[Array, ""]
    steps: Int[Array, ""]
    status: Int[Array, ""]
    epsilon: Float[Array, ""]
    y: Float[Array, "m d"]
    b: Float[Array, " m"]
    state: State
    cost: str = eqx.field(static=True)
    sharp: bool = eqx.field(static=True)
    mesh: Mesh | None = eqx.field(static=True)

    def assign(self, x, *, block: int | None = None) -> Int[Array, " n"]:
        """The atom that owns each point of x (n, d): one matrix product, `block` rows at a time.

        argmax_j g_j - c(x, y_j) + epsilon log b_j: the cell of x at epsilon = 0, its likeliest
        atom otherwise. Any b: at epsilon = 0 weights act through g alone.
        """
        return matching.assign(self, x, block=block)

    def sample_pairs(self, key, x, *, block: int | None = None) -> Int[Array, " n"]:
        """One partner j(i) for each point of x (n, d): its owner, or a draw when epsilon > 0.

        j(i) is drawn from s_j(x_i), proportional to b_j exp((g_j - c(x_i, y_j)) / epsilon), by
        the Gumbel-max trick over all atoms.
        """
        return matching.sample_pairs(self, key, x, block=block)

    def mips_form(self) -> Float[Array, "m d+1"]:
        """Atoms with one number appended, for any search of maximum inner products.

        `assign(x)` is the row with the largest <row, (x, 1)>; -inf ends rows without weight.
        """
        return matching.mips_form(self)

    def pairs(self, seed: int, n: int, *, start: int = 0):
        """n pairs with standard normal noise as `pairing.Pairs`, eight bytes each.

        Noise `start` to `start + n - 1` of `pairing.noise_at(jax.random.key(seed), ...)`, so the
        potential must have been fitted to `standard_normal`. Any stretch can be made anywhere.
        """
        return matching.stored_pairs(self, seed, n, start)

    def cell_masses(self, key, sample, *, n: int = 1 << 16, batch: int = 4096):
        """Share of n fresh noise points in every cell, shape (m,); n is rounded up to batches."""
        batches = -(-n // batch)
        return _fresh(self, key, sample, batches, batch)[0] / (batches * batch)

    def fresh_chi2(self, key, sample, *, n: int = 1 << 16, batch: int = 4096):
        """chi2 again, from n fresh noise points; its standard deviation is about sqrt(2m) / n."""
        batches = -(-n // batch)
        sums = _fresh(self, key, sample, batches, batch)
        return cells.chi2(*sums, batches * batch, self.b)

    def require_converged(self) -> "SemidiscreteResult":
        """Return self, or raise RuntimeError saying what to change."""
        status = Status(int(self.status))
        if status is not Status.CONVERGED:
            raise RuntimeError(f"semidiscrete {REMEDY[status]} (steps={int(self.steps)}, "
                               f"chi2={float(self.chi2):.3g}, epsilon={float(self.epsilon):.3g})"
                               f"{note_on_copies(self.y, self.b) if self.sharp else ''}")
        return self


@lru_cache
def standard_normal(d: int) -> Callable:
    """The sampler (key, n) -> x (n, d) of N(0, I); one function for each d, compiled once."""
    return partial(data.gaussian, d=d)


def init(*, m: int | None = None, g=None) -> State:
    """The state before the first step: potential zero on m atoms, or g (m,)."""
    if (m is None) == (g is None):
        raise ValueError("init wants either the number of atoms m= or a potential g=.")
    g = jnp.zeros(m) if g is None else jnp.asarray(g)
    return State(g, g, jnp.zeros((), jnp.int32))


def relative_rate(key, sample, y, rate=RATE, *, cost="dot"):
    """A step size in units of the cost: rate * m * std(C), std(C) from 1,024 noise points.

    Entries of the gradient are of size 1 / m, so that one step moves g by about rate * std(C).
    """
    y, _ = inputs.check_atoms(y)
    return rate * len(y) * std_cost(sample(key, 1024).astype(y.dtype), y, cost=cost)


def semidual(g, x, y, *, b=None, epsilon=0.0, cost="dot"):
    """mean_i f(x_i) + <b, g>: concave in g (m,), and at its maximum the optimal cost.

    f(x) = -max_j [g_j - c(x, y_j)] at epsilon = 0, otherwise the soft version
    -epsilon log sum_j b_j exp((g_j - c(x, y_j)) / epsilon). Its gradient in g is b minus the
    masses of the cells. Keeps an (n, m) table: for checks and small clouds.

    Source: arXiv 2509.25519; Genevay et al. (2016), arXiv 1605.08527, for epsilon > 0.
    """
    y, b = inputs.check_atoms(y, b)
    z = g - resolve_cost(cost)(jnp.asarray(x, y.dtype), y)
    if _is_sharp(epsilon):
        return b @ g - jnp.mean(jnp.max(jnp.where(b > 0, z, -jnp.inf), axis=1))
    return b @ g - epsilon * jnp.mean(jax.nn.logsumexp(z / epsilon, axis=1, b=b))


def step(key, state: State, sample, y, *, b=None, epsilon=0.0, batch: int, rate, cost="dot"):
    """One SGD step on the semidual: g += rate (b - masses of the cells in a batch of noise).

    Args:
        key: PRNG key of the batch.   batch: noise points, at least 2.
        state: from `init` or the step before.
        sample, y, b, epsilon, cost: as in `solve`.
        rate: step size in units of the cost; see `relative_rate`.

    Returns:
        (State, Info); the state holds the last iterate and the running average.

    Source: arXiv 2509.25519, section 3.
    """
    y, b = inputs.check_atoms(y, b)
    inputs.check_settings(epsilon=epsilon, cost=cost, batch=batch)
    inputs.check_sample(sample, key, batch, y)
    state = _start(state, len(y), y.dtype)
    epsilon_, rate = jnp.asarray(epsilon, y.dtype), jnp.asarray(rate, y.dtype)
    return _step(key, state, sample, y, b, epsilon_, rate, batch, cost, _is_sharp(epsilon))


def solve(key, sample, y, *, epsilon=0.0, b=None, cost="dot", batch=256, rate=None, tol=0.02,
          max_steps=20_000, init=None, eval_batch=1024, mesh=None) -> SemidiscreteResult:
    r"""Maximise E f(X) + <b, g> over g, X from `sample`: optimal transport of noise to atoms.

    SGD with step rate / (1 + k / 5)^0.75 and a running average. The average is judged on noise of
    its own: it has converged when the unbiased estimate of chi2 is 2.33 standard deviations below
    tol, these being at most tol / 2. Fewer points may only say "not yet", so that a lucky zero
    stops nothing. Looking is sequential: a chi2 of exactly tol passes 3 or 4 times in 100.

    Args:
        key: PRNG key of the noise.
        sample: the noise law, a function (key, n) -> x (n, d). Each new function compiles again;
            `standard_normal(d)` and an eqx.Module do not.
        y: atoms, shape (m, d), distinct (else `laguerre.duplicates.merge_duplicates`).
        epsilon: 0 for sharp cells, > 0 for soft ones; in units of the cost. Inside `jit` it
            counts as > 0.
        b: weights, shape (m,), >= 0, summing to one; equal when None. Zeros own nothing.
        cost: "dot", -<x, y>, or "sqeuclidean", |x - y|^2 (the same cells, twice the epsilon).
        batch: noise points a step.   eval_batch: noise points at a time when judging.
        rate: first step in units of the cost, or a function of the step number k that returns
            the step itself; None is relative_rate(key, sample, y), 0.05 m std(C).
        tol: the chi2 to reach. At epsilon = 0 it takes about m / tol noise points at least.
        max_steps: cap on SGD steps.
        init: None, a `State`, a SemidiscreteResult, or a potential g (m,).
        mesh: None, or a mesh over whose first axis y, b and g are split by rows; see
            otlab.core.devices. Every device finds its local best, then they compare.

    Returns:
        SemidiscreteResult. It does not raise when the steps end early: call
        .require_converged(), or read .status.

    Raises:
        ValueError: wrong shapes, NaN, bad weights, epsilon < 0, and so on.

    epsilon, tol, max_steps and a number for rate are traced: a new value compiles nothing.
    With cost "dot" a shift of y changes nothing; an offset of the noise, or with "sqeuclidean"
    of either, is a tilt that SGD must learn, so centre them.

    Work: 2 m d flop a noise point, steps * batch of them and (970 + 22 sqrt(m)) / tol at most in a
    look. Memory: 8 m d + 4 (m + d) max(batch, eval_batch) bytes in float32.

    Source: arXiv 2509.25519, section 3 and equation 3.5.
    """
    y, b = inputs.check_atoms(y, b)
    inputs.check_settings(epsilon=epsilon, cost=cost, batch=batch, eval_batch=eval_batch, tol=tol,
                          max_steps=max_steps)
    inputs.check_sample(sample, key, batch, y)
    inputs.check_mesh(mesh, len(y))
    state = _start(init, len(y), y.dtype)
    key_rate, key_run = jax.random.split(key)
    rate = relative_rate(key_rate, sample, y, cost=cost) if rate is None else rate
    rate = rate if callable(rate) else jnp.asarray(rate, y.dtype)
    number = partial(jnp.asarray, dtype=y.dtype)
    g, state, chi2, status = _solve(
        key_run, state, sample, y, b, number(epsilon), rate, number(tol),
        jnp.asarray(max_steps, jnp.int32), (batch, eval_batch), cost, _is_sharp(epsilon), mesh)
    return SemidiscreteResult(g, chi2, state.k, status, number(epsilon), y, b, state, cost,
                              _is_sharp(epsilon), mesh)


@eqx.filter_jit
def _step(key, state, sample, y, b, epsilon, rate, batch, cost, sharp):
    problem = from_cost(y, b, epsilon, cost, sharp)
    state = _convert(state, cells.dot_potential, y, cost)
    total, squares = problem.shares(sample(key, batch).astype(y.dtype), state.g)
    info = Info(total / batch, problem.chi2(total, squares, batch))
    state = ascent.advance(problem, state, info.masses, cells.dot_units(rate, cost))
    return _convert(state, cells.cost_potential, y, cost), info


@eqx.filter_jit
def _solve(key, state, sample, y, b, epsilon, rate, tol, max_steps, sizes, cost, sharp, mesh):
    arrays, law = eqx.partition((sample, rate), eqx.is_array)

    def run(problem, potentials, copies):
        key, k, arrays, tol, max_steps = copies
        sample, rate = eqx.combine(arrays, law)

        def schedule(k):
            k = k.astype(y.dtype)
            now = rate(k) if callable(rate) else rate * ascent.slower(k)
            return cells.dot_units(jnp.asarray(now, y.dtype), cost)

        state, chi2, status = ascent.ascend(problem, key, sample, State(*potentials, k), schedule,
                                            tol, max_steps, batch=sizes[0], size=sizes[1])
        return (state.g, state.mean), (state.k, chi2, status)

    state = _convert(state, cells.dot_potential, y, cost)
    problem = from_cost(y, b, epsilon, cost, sharp)
    (g, mean), (k, chi2, status) = over_mesh(run, mesh, problem, (state.g, state.mean),
                                             (key, state.k, arrays, tol, max_steps))
    state = _convert(State(g, mean, k), cells.cost_potential, y, cost)
    return state.mean - b @ state.mean, state, chi2, status


@eqx.filter_jit
def _fresh(result, key, sample, batches, size):
    """Sums of assignment probabilities and of their squares over fresh noise."""
    arrays, law = eqx.partition(sample, eqx.is_array)

    def run(problem, h, copies):
        key, arrays = copies
        return ascent.accumulate(problem, key, eqx.combine(arrays, law), h, batches, size), ()

    h = cells.dot_potential(result.g, result.y, result.cost)
    problem = from_cost(result.y, result.b, result.epsilon, result.cost, result.sharp)
    return over_mesh(run, result.mesh, problem, h, (key, arrays))[0]


def _convert(state, units, y, cost):
    return State(units(state.g, y, cost), units(state.mean, y, cost), state.k)


def _is_sharp(epsilon) -> bool:
    return known(epsilon) and float(epsilon) == 0


def _start(start, m, dtype) -> State:
    """A `State` of m atoms from what `solve` accepts as init."""
    state = getattr(start, "state", start)
    if not isinstance(state, State):
        state = init(m=m) if state is None else init(g=state)
    state = State(state.g.astype(dtype), state.mean.astype(dtype), state.k)
    if state.g.shape != (m,):
        raise ValueError(f"semidiscrete wants one potential an atom, shape ({m},); got "
                         f"{state.g.shape}. Begin with init(m={m}).")
    if not (all_finite(state.g) and all_finite(state.mean)):
        raise ValueError("semidiscrete wants a finite potential to start from; it holds NaN or "
                         "infinity. Begin with init=None.")
    return state
