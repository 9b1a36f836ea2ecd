"""`make bench`: our semidiscrete solver beside OTT-JAX and POT in one run, time to one quality.

Standardised digits, N = 1,797 and d = 64, cost -<x, y>. A potential is good enough at chi2 <= 0.02,
estimated here in NumPy from noise that no solver has seen, the same for all. Peers are told the
least number of steps that gets there, on a grid of ratio sqrt 2 and by the mean of two seeds, so
they pay for no stopping rule; "otlab" finds out and proves it by itself, and "otlab, told" is
treated as peers are. Compile time is left out; medians of interleaved runs with new seeds, in
seconds of the clock and of the processor, the latter being what a busy machine leaves of the truth.

A search ends with the first count that takes more than OTLAB_BENCH_LIMIT processor seconds
(default 10), and the report says what chi2 was reached. POT runs its tuned setting alone, on one
seed and on a grid of ratio 2: one run of it takes longer than all of ours. Report:
_build/reports/bench_semidiscrete.json, see report.py.
"""

import os
import time
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import report
from ot.semidiscrete import solve_semidiscrete
from ott.geometry import costs
from ott.geometry.semidiscrete_pointcloud import SemidiscretePointCloud
from ott.problems.linear.semidiscrete_linear_problem import SemidiscreteLinearProblem
from ott.solvers.linear.semidiscrete import SemidiscreteSolver
from scipy.special import softmax

from otlab.core import data
from otlab.couplings import semidiscrete
from otlab.couplings.semidiscrete.laguerre.ascent import slower

LIMIT = float(os.environ.get("OTLAB_BENCH_LIMIT", 10))
TARGET, SEEDS, FRESH = 0.02, (1, 2), 1 << 15
REPEATS = 3


@cache
def problem():
    """Standardised digits, and std(C) under standard normal noise."""
    flat = data.images("digits").flat
    spread = flat.std(0)
    y = ((flat - flat.mean(0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
    return y, float(np.sqrt(np.square(y.T @ y / len(y)).trace()))


def chi2(g, epsilon):
    """The U-statistic of equation 3.5 from FRESH points."""
    y, _ = problem()
    N, rng = len(y), np.random.default_rng(2026)
    total, squares = np.zeros(N), np.zeros(N)
    for _ in range(FRESH // 1024):
        z = rng.standard_normal((1024, 64), np.float32) @ y.T + np.asarray(g, np.float32)
        if epsilon == 0:
            s = np.bincount(z.argmax(1), minlength=N)
            total, squares = total + s, squares + s
        else:
            s = softmax(z / epsilon, axis=1)
            total, squares = total + s.sum(0), squares + (s * s).sum(0)
    return float(N * np.sum(total**2 - squares) / FRESH / (FRESH - 1) - 1)


def otlab(epsilon, steps=None):
    y, _ = problem()
    law, y = semidiscrete.standard_normal(64), jnp.asarray(y)
    told = {} if steps is None else dict(tol=1e-9, max_steps=steps)

    def run(seed):
        r = semidiscrete.solve(jax.random.key(seed), law, y, epsilon=epsilon, **told)
        return jax.block_until_ready(r.g)

    return run


def ott(epsilon, steps, batch, rate, average):
    """rate(steps): an optax optimizer. The error is evaluated once, at the end, as it must be."""
    y, _ = problem()
    geometry = SemidiscretePointCloud(jax.random.normal, jnp.asarray(y), epsilon=epsilon,
                                      cost_fn=costs.NegDotProduct())
    solver = SemidiscreteSolver(num_iterations=steps, batch_size=batch, optimizer=rate(steps),
                                potential_ema=average, error_eval_every=steps, error_num_repeats=1)
    jitted = jax.jit(lambda key: solver(key, SemidiscreteLinearProblem(geometry)).g)

    def run(seed):
        with jax.numpy_dtype_promotion("standard"):  # OTT mixes dtypes
            return jax.block_until_ready(jitted(jax.random.key(seed)))

    return run


def pot(epsilon, steps, batch, **settings):
    y, _ = problem()

    def run(seed):
        rng = np.random.default_rng(seed)
        return solve_semidiscrete(y, lambda n: rng.standard_normal((n, 64), np.float32),
                                  metric=lambda a, b: -a @ b.T, reg=epsilon, max_iter=steps,
                                  batch_size=batch, **settings)

    return run


def solvers(epsilon):
    """name → (function of the number of steps, noise points a step)."""
    y, std = problem()
    unit = len(y) * std

    def ours(_):
        return optax.sgd(lambda k: semidiscrete.RATE * unit * slower(k))

    def constant(_):
        return optax.sgd(0.02 * unit)

    def adam(steps):
        return optax.adam(optax.cosine_decay_schedule(0.1 * std, steps))

    make = partial(partial, ott, epsilon)
    return {
        "otlab, told": (partial(otlab, epsilon), 256),
        # OTT has no default batch, optimizer or count; 0.99 is its default of potential_ema.
        "OTT-JAX, default average": (make(batch=256, rate=constant, average=0.99), 256),
        "OTT-JAX, constant rate": (make(batch=1024, rate=constant, average=0.01), 1024),
        "OTT-JAX, our rate": (make(batch=256, rate=ours, average=0.01), 256),
        "OTT-JAX, Adam": (make(batch=256, rate=adam, average=0.99), 256),
        "POT, tuned": (partial(pot, epsilon, batch=256, lr0=0.1 * unit, lr_exponent=2 / 3,
                               decreasing_reg_initial_eps=0.3 * std), 256),
    }


def least(name, solver, points, epsilon):
    """The least count on the grid that reaches TARGET, or None, and the chi2 of every count."""
    seen, slow = {}, name.startswith("POT")
    seeds = SEEDS[:1] if slow else SEEDS

    def reaches(power):
        steps = int(np.ceil(2 ** (power / 2) * 16_384 / points))
        run, start = solver(steps), time.process_time()
        if not slow:
            run(0)  # compiles
            start = time.process_time()
        potentials = [run(seed) for seed in seeds]
        spent = (time.process_time() - start) / len(seeds)
        seen[steps] = float(np.mean([chi2(g, epsilon) for g in potentials]))
        return seen[steps] <= TARGET, steps, spent

    power, done, spent = 2, False, 0.0
    while not done and spent <= LIMIT:
        power += 2
        done, steps, spent = reaches(power)
    if done and not slow:
        earlier, fewer, _ = reaches(power - 1)
        steps = fewer if earlier else steps
    return (steps if done else None), seen


@pytest.mark.parametrize("relative", [0.0, 0.1])
def test_semidiscrete_peers(relative):
    epsilon = relative * problem()[1]
    searches = {k: (s, *least(k, s, points, epsilon))
                for k, (s, points) in solvers(epsilon).items()}
    named = {"otlab": otlab(epsilon)}
    named |= {k: s(steps) for k, (s, steps, _) in searches.items() if steps}
    runs = {k: [] for k in named}
    for name, run in named.items():
        if not name.startswith("POT"):
            run(0)  # compiles
    for seed in range(10, 10 + REPEATS):
        for name, run in named.items():
            if name.startswith("POT") and runs[name]:
                continue  # one run is enough to see it is not the best
            wall, processor = time.perf_counter(), time.process_time()
            g = run(seed)
            runs[name].append((time.perf_counter() - wall, time.process_time() - processor,
                               chi2(g, epsilon)))
    wall, processor, quality = ({k: float(np.median([r[i] for r in v])) for k, v in runs.items()}
                                for i in range(3))
    best = min((k for k in wall if not k.startswith("otlab")), key=processor.get, default=None)
    gains = {f"{name}, {clock}": seconds[best] / seconds[name] if best else None
             for clock, seconds in (("clock", wall), ("processor", processor))
             for name in ("otlab", "otlab, told")}
    print(f"\nε/std(C) = {relative}: {best} {gains}")
    for name, (_, steps, seen) in ({"otlab": (None, "its own", {})} | searches).items():
        print(f"  {name:26s} " + ("misses" if steps is None else
              f"{wall[name]:7.3f} s, {processor[name]:7.3f} s, chi2 {quality[name]:.4f}"), seen)
    report.add("semidiscrete", f"digits eps={relative}", {
        "seconds": wall, "processor seconds": processor, "chi2": quality, "best peer": best,
        "speed-up": gains, "chi2 by steps": {k: seen for k, (*_, seen) in searches.items()}})
    assert quality["otlab"] <= TARGET
