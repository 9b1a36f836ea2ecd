"""`make bench`: our Sinkhorn beside OTT-JAX and POT in one run. Times are reported, not asserted.

Stop for all: an L1 row-marginal error of at most 1e-3, recomputed here in float64 from the
plan each solver means. Compile time is left out; medians of interleaved runs.
"""

import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from ott.geometry import costs, pointcloud
from ott.solvers import linear

from otlab.core import data
from otlab.core.costs import relative_epsilon
from otlab.couplings.sinkhorn import sinkhorn

REPORT = Path("_build/reports/bench_sinkhorn.json")
REPEATS = 3
CELLS = [(1024, 2, 0.1), (1024, 8, 0.03), (2048, 2, 0.03), (2048, 64, 0.1)]


def clouds(n, d):
    x = data.gaussian(jax.random.key(0), n, d)
    y = data.gaussian(jax.random.key(1), n, d) * (1 + jnp.arange(d) / d) + 1
    return x - x.mean(0), y - y.mean(0)


def solvers(x, y, epsilon):
    """name → function returning log of (n² P), as NumPy potentials f, g."""
    n = len(x)
    cost = costs.NegDotProduct()
    C = np.asarray(-x @ y.T, np.float64)
    uniform = np.full(n, 1 / n)

    @jax.jit
    @jax.numpy_dtype_promotion("standard")  # OTT mixes dtypes
    def ott(x, y, epsilon):
        out = linear.solve(pointcloud.PointCloud(x, y, cost_fn=cost, epsilon=epsilon),
                           threshold=1e-3, max_iterations=20_000)
        return out.f, out.g

    def pot():
        log = ot.bregman.sinkhorn_log(uniform, uniform, C, float(epsilon), stopThr=1e-4,
                                      numItermax=2_000, log=True)[1]
        return log["log_u"] * float(epsilon), log["log_v"] * float(epsilon)

    def ours(block):
        def call():
            r = sinkhorn(x, y, epsilon=epsilon, cost="dot", max_steps=20_000, block=block)
            shift = np.log(n) * float(epsilon)  # ours scales the plan by a b^T
            return jax.block_until_ready(r.f) - shift, r.g - shift
        return call

    return {"otlab": ours(None), "otlab, streaming": ours(512),
            "OTT-JAX": lambda: jax.block_until_ready(ott(x, y, epsilon)), "POT log": pot}, C


def error(C, f, g, epsilon):
    """L1 row-marginal gap in float64; columns are made exact first, as every solver does last."""
    f, g = np.asarray(f, np.float64), np.asarray(g, np.float64)
    P = np.exp((f[:, None] + g - C) / float(epsilon))
    return max(np.abs(P.sum(1) - 1 / len(f)).sum(), np.abs(P.sum(0) - 1 / len(f)).sum())


@pytest.mark.parametrize("n, d, relative", CELLS)
def test_peers(n, d, relative):
    x, y = clouds(n, d)
    epsilon = relative_epsilon(x, y, relative)
    named, C = solvers(x, y, epsilon)
    if n > 1024:
        named.pop("POT log")  # a minute a call on two cores
    times, errors = {k: [] for k in named}, {}
    for k, solve in named.items():
        errors[k] = float(error(C, *solve(), epsilon))  # also compiles
    for _ in range(REPEATS):
        for k, solve in named.items():
            start = time.perf_counter()
            solve()
            times[k].append(time.perf_counter() - start)
    median = {k: float(np.median(v)) for k, v in times.items()}
    print(f"\nn = {n}, d = {d}, ε/std(C) = {relative}")
    for k in named:
        print(f"  {k:18s} {median[k]:8.3f} s   ×{median[k] / median['otlab']:5.2f}   "
              f"error {errors[k]:.1e}{'' if errors[k] <= 2e-3 else '  misses'}")
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    rows[f"n={n} d={d} eps={relative}"] = {"seconds": median, "error": errors}
    REPORT.write_text(json.dumps(rows, indent=1))
    assert errors["otlab"] <= 2e-3 and errors["otlab, streaming"] <= 2e-3
