"""`make bench`: our Sinkhorn beside OTT-JAX, POT, GeomLoss and SciPy in one run.

Every entropic solver stops at an L1 marginal error of 1e-3, recomputed here in float64 from the
potentials it returns (rows and columns, the worse). Compile time is left out; medians of
interleaved runs; nothing asserts a time. A solver whose time at n/4 predicts more than
OTLAB_BENCH_LIMIT seconds (default 40) is left out of a cell and named; OTLAB_BENCH_POINTS chooses
the sizes.

The report, _build/reports/bench_sinkhorn.json, holds seconds, errors and the speed-up over the
best valid peer of each cell.
"""

import json
import os
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from ott.geometry import costs, pointcloud
from ott.geometry.epsilon_scheduler import Epsilon
from ott.solvers import linear
from ott.solvers.linear import acceleration
from scipy.optimize import linear_sum_assignment

from otlab.core import data
from otlab.core.costs import relative_epsilon
from otlab.couplings.sinkhorn import sinkhorn

REPORT = Path("_build/reports/bench_sinkhorn.json")
LIMIT = float(os.environ.get("OTLAB_BENCH_LIMIT", 40))
POINTS = [int(n) for n in os.environ.get("OTLAB_BENCH_POINTS", "1024,4096").split(",")]
REPEATS = 3
TOLERANCE = 1e-3
VALID = 1.1e-3  # what float32 may add between a solver's own error and ours
KINDS = {"gaussians": (2, 8, 64), "moons to eight gaussians": (2, 8, 64), "digits to noise": (64,)}
EAGER = ("POT log", "GeomLoss")
CELLS = [(n, kind, d, e) for n in sorted(POINTS) for kind, dims in KINDS.items() for d in dims
         for e in (0.1, 0.01, 0.003)]


def clouds(kind, n, d):
    """Two centred clouds (n, d); the plane is padded with a little noise, digits are repeated."""
    keys = jax.random.split(jax.random.key(0), 4)
    if kind == "gaussians":
        x = data.gaussian(keys[0], n, d)
        y = data.gaussian(keys[1], n, d) * (1 + jnp.arange(d) / d) + 1
    elif kind == "digits to noise":
        flat = data.images("digits").flat
        x = jnp.asarray(flat[np.arange(n) % len(flat)]) + 0.05 * data.gaussian(keys[2], n, 64)
        y = data.gaussian(keys[1], n, d)
    else:
        pad = [0.1 * data.gaussian(k, n, d - 2) if d > 2 else jnp.zeros((n, 0)) for k in keys[2:]]
        x = jnp.concatenate([data.two_moons(keys[0], n), pad[0]], 1)
        y = jnp.concatenate([data.eight_gaussians(keys[1], n), pad[1]], 1)
    return x - x.mean(0), y - y.mean(0)


def ott(x, y, epsilon, momentum=None, schedule=False):
    """OTT-JAX with its own stopping rule at the same tolerance."""
    value = Epsilon(epsilon, init=50.0, decay=0.9) if schedule else epsilon
    settings = {"momentum": acceleration.Momentum(value=momentum)} if momentum else {}
    out = linear.solve(pointcloud.PointCloud(x, y, cost_fn=costs.NegDotProduct(), epsilon=value),
                       threshold=TOLERANCE, max_iterations=20_000, **settings)
    return out.f, out.g


def solvers(x, y, epsilon):
    """name → function returning potentials (f, g) of the plan exp((f + g - C) / epsilon)."""
    n = len(x)
    shift = np.log(n) * float(epsilon)  # ours scales the plan by a b^T

    def ours(method):
        r = sinkhorn(x, y, epsilon=epsilon, cost="dot", max_steps=20_000, method=method)
        return jax.block_until_ready(r.f) - shift, r.g - shift

    def pot():
        uniform, C = np.full(n, 1 / n, np.float32), np.asarray(-x @ y.T)
        log = ot.bregman.sinkhorn_log(uniform, uniform, C, float(epsilon), stopThr=1e-3 / n**0.5,
                                      numItermax=1_000, log=True)[1]
        return log["log_u"] * float(epsilon), log["log_v"] * float(epsilon)

    def geomloss():
        import torch
        from geomloss import SamplesLoss

        blur = float(epsilon) ** 0.5  # of |x - y|^2 / 2, whose plan at epsilon is ours
        loss = SamplesLoss("sinkhorn", p=2, blur=blur, scaling=0.9, debias=False, potentials=True,
                           backend="tensorized")
        tensors = [torch.tensor(np.asarray(v)) for v in (x, y)]
        F, G = (v.numpy().ravel() for v in loss(*tensors))
        half = [0.5 * (np.asarray(v) ** 2).sum(1) for v in (x, y)]
        return F - half[0] - shift, G - half[1] - shift

    def jitted(**settings):
        with jax.numpy_dtype_promotion("standard"):  # OTT mixes dtypes
            return jax.block_until_ready(compiled(**settings)(x, y, epsilon))

    compiled = _compiled
    named = {"otlab": partial(ours, "auto"), "otlab, streaming": partial(ours, "stream"),
             "OTT-JAX": jitted, "OTT-JAX, momentum 1.5": partial(jitted, momentum=1.5),
             "OTT-JAX, schedule": partial(jitted, schedule=True), "POT log": pot}
    return named | ({"GeomLoss": geomloss} if find_spec("geomloss") else {})


CACHE = {}


def _compiled(**settings):
    key = tuple(sorted(settings.items()))
    return CACHE.setdefault(key, jax.jit(partial(ott, **settings)))


def error(x, y, f, g, epsilon):
    """The larger L1 marginal gap, of rows and columns, in float64 and by blocks of rows."""
    x, y, f, g = (np.asarray(v, np.float64) for v in (x, y, f, g))
    rows, columns = np.zeros(len(x)), np.zeros(len(y))
    for i in range(0, len(x), 512):
        at = slice(i, i + 512)
        with np.errstate(over="ignore"):
            P = np.exp((f[at, None] + g + x[at] @ y.T) / float(epsilon))
        rows[at], columns = P.sum(1), columns + P.sum(0)
    return float(max(np.abs(rows - 1 / len(x)).sum(), np.abs(columns - 1 / len(y)).sum()))


@pytest.mark.parametrize("n, kind, d, relative", CELLS)
def test_entropic_peers(n, kind, d, relative):
    x, y = clouds(kind, n, d)
    epsilon = relative_epsilon(x, y, relative)
    report = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    smaller = report.get(f"n={n // 4} {kind} d={d} eps={relative}", {}).get("seconds", {})
    named, skipped = solvers(x, y, epsilon), {}
    for name in [k for k in named if not k.startswith("otlab")]:
        predicted = 16 * smaller[name] if name in smaller else n**2 / 4e5  # unknown: be careful
        if (smaller and name not in smaller) or predicted > LIMIT:
            skipped[name] = round(predicted, 1)
            del named[name]
    times, errors = {k: [] for k in named}, {}
    for name, solve in named.items():
        start = time.perf_counter()
        errors[name] = error(x, y, *solve(), epsilon)  # also compiles
        if name in EAGER and time.perf_counter() - start > LIMIT / 4:  # nothing was compiled
            times[name].append(time.perf_counter() - start)
    for _ in range(REPEATS):
        for name, solve in named.items():
            if sum(times[name]) < LIMIT / 4:
                start = time.perf_counter()
                solve()
                times[name].append(time.perf_counter() - start)
    seconds = {k: float(np.median(v)) for k, v in times.items()}
    valid = {k: t for k, t in seconds.items() if not k.startswith("otlab") and errors[k] <= VALID}
    best = min(valid, key=valid.get) if valid else None
    speedup = valid[best] / seconds["otlab"] if best else None
    print(f"\nn = {n}, {kind}, d = {d}, ε/std(C) = {relative}: "
          + (f"{speedup:.1f}× the best valid peer ({best})" if best else "no valid peer in time"))
    for name in named:
        note = "" if errors[name] <= VALID else "  misses the tolerance"
        print(f"  {name:24s} {seconds[name]:9.4f} s   error {errors[name]:.1e}{note}")
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    report[f"n={n} {kind} d={d} eps={relative}"] = {
        "seconds": seconds, "error": errors, "best peer": best, "speed-up": speedup,
        "left out, predicted seconds": skipped}
    REPORT.write_text(json.dumps(report, indent=1))
    assert errors["otlab"] <= VALID and errors["otlab, streaming"] <= VALID


@pytest.mark.parametrize("n", [n for n in POINTS if n <= 4096])
def test_exact_assignment(n):
    """For scale: the Hungarian method of SciPy and POT's network simplex, once each."""
    x, y = clouds("gaussians", n, 8)
    C, uniform = np.asarray(-x @ y.T, np.float64), np.full(n, 1 / n)
    for name, solve in (("SciPy assignment", lambda: linear_sum_assignment(C)),
                        ("POT emd", lambda: ot.emd(uniform, uniform, C))):
        start = time.perf_counter()
        solve()
        print(f"\nn = {n}: {name} {time.perf_counter() - start:.2f} s")


def test_the_geometric_mean_is_reported():
    """Over all cells in which a peer reached the tolerance in time."""
    report = json.loads(REPORT.read_text())
    gains = [cell["speed-up"] for cell in report.values() if cell.get("speed-up")]
    assert gains
    print(f"\n{len(gains)} of {len(report)} cells have a valid peer: geometric mean "
          f"{np.exp(np.mean(np.log(gains))):.1f}×, least {min(gains):.2f}×")
