"""`make bench`: our Sinkhorn beside OTT-JAX, POT, GeomLoss and SciPy in one run.

Every entropic solver stops at an L1 marginal error of 1e-3, recomputed here in float64 from the
potentials it returns (rows and columns, the worse). Compile time is left out; medians of
interleaved runs, in seconds of the clock and of the processor, the latter being what a busy
machine leaves of the truth; nothing asserts a time. A solver whose time at n/4 predicts more than
OTLAB_BENCH_LIMIT seconds (default 40) is left out of a cell and named; OTLAB_BENCH_POINTS chooses
the sizes (default 1024,4096), OTLAB_BENCH_RESUME=1 goes on where a run was stopped,
OTLAB_BENCH_ADD="POT stabilised" runs that peer in the cells that lack it, beside ours and the best
peers so far, and OTLAB_BENCH_LARGE=1 adds n = 50,000 and the memory of n = 100,000 (half an hour).

Reports: _build/reports/bench_sinkhorn.json and bench_large.json, see report.py.
"""

import os
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import ot
import ott_blocks
import pytest
import report
from ott.geometry import costs, pointcloud
from ott.geometry.epsilon_scheduler import Epsilon
from ott.solvers import linear
from ott.solvers.linear import acceleration
from scipy.optimize import linear_sum_assignment

from otlab.core import data
from otlab.core.costs import relative_epsilon
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn

LIMIT = float(os.environ.get("OTLAB_BENCH_LIMIT", 40))
RESUME = os.environ.get("OTLAB_BENCH_RESUME") == "1"  # keep the cells that the report has
ADDED = os.environ.get("OTLAB_BENCH_ADD")  # a peer that cells of the report lack
LARGE = os.environ.get("OTLAB_BENCH_LARGE") == "1"
BLOCKS = "OTT-JAX, batch_size"  # runs in a process of its own, see ott_blocks.py
POINTS = [int(n) for n in os.environ.get("OTLAB_BENCH_POINTS", "1024,4096").split(",")]
REPEATS = 3
PATIENCE = 4  # seconds after which a solver is not run again in a cell
TOLERANCE = 1e-3
VALID = 1.1e-3  # what float32 may add between a solver's own error and ours
KINDS = {"gaussians": (2, 8, 64), "moons to eight gaussians": (2, 8, 64), "digits to noise": (64,)}
EAGER = ("POT log", "POT stabilised", "GeomLoss")
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

    def pot_stabilised():
        uniform, C = np.full(n, 1 / n), np.asarray(-x @ y.T, np.float64)
        least = C.min()                     # its first kernel would overflow at negative costs
        log = ot.bregman.sinkhorn_stabilized(   # its own tau = 1e3 never stops from n = 1e3 on
            uniform, uniform, C - least, float(epsilon), numItermax=1_000, tau=1e9,
            stopThr=1e-3 / n**0.5, log=True)[1]
        return log["logu"] * float(epsilon) + least, log["logv"] * float(epsilon)

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
    named = {"otlab": partial(ours, "auto")}
    if n <= 4096 or float(epsilon) >= 0.05 * float(relative_epsilon(x, y, 1.0)):
        named["otlab, streaming"] = partial(ours, "stream")  # minutes beyond
    named |= {
        "OTT-JAX": jitted, "OTT-JAX, momentum 1.5": partial(jitted, momentum=1.5),
        "OTT-JAX, schedule": partial(jitted, schedule=True),
        "POT log": pot, "POT stabilised": pot_stabilised}
    return named | ({"GeomLoss": geomloss} if find_spec("geomloss") else {})


CACHE, SEEN = {}, set()


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
    gap = max(np.abs(rows - 1 / len(x)).sum(), np.abs(columns - 1 / len(y)).sum())
    return float(gap) if np.isfinite(gap) else 2.0  # the largest gap there can be


@pytest.fixture(scope="module")
def worker():
    """OTT's streaming mode, or None where its environment cannot be installed."""
    interpreter = ott_blocks.python()
    found = ott_blocks.Worker(interpreter) if interpreter else None
    yield found
    if found:
        found.close()


def timed(solve):
    """(what it returned, seconds of the clock, seconds of the processor)."""
    wall, processor = time.perf_counter(), time.process_time()
    out = solve()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return (out, out["seconds"], out["cpu"]) if isinstance(out, dict) else (out, wall, processor)


def median(times):
    return {k: float(np.median(v)) for k, v in times.items()}


def chosen(named, n, smaller, blurred):
    """The solvers worth a try, and the predicted seconds of the others.

    smaller, blurred: seconds by solver at n / 4, and at the next larger ε, where sweeps are fewer
    by about the ratio of the two. Those that were never the best get a quarter of LIMIT.
    """
    left_out = {}
    for name in [k for k in named if not k.startswith("otlab")]:
        slow = name in (*EAGER, BLOCKS)
        guesses = [16 * smaller[name]] if name in smaller else [n**2 / 4e5]  # unknown: be careful
        guesses += [3 * blurred[name]] if slow and name in blurred else []
        given_up = any(seconds and name not in seconds
                       for seconds in (smaller, blurred if slow else None))
        if given_up or max(guesses) > LIMIT / (4 if slow else 1):
            left_out[name] = round(max(guesses), 1)
    return {k: v for k, v in named.items() if k not in left_out}, left_out


@pytest.mark.parametrize("n, kind, d, relative", CELLS)
def test_entropic_peers(n, kind, d, relative, worker):
    x, y = clouds(kind, n, d)
    epsilon = relative_epsilon(x, y, relative)
    rows, blur = report.read("sinkhorn"), {0.01: 0.1, 0.003: 0.01}.get(relative)
    key = f"n={n} {kind} d={d} eps={relative}"
    old = rows.get(key, {}) if ADDED else {}
    if (RESUME and key in rows) or ADDED in old.get("seconds", {}):
        return
    smaller, blurred = (rows.get(k, {}).get("seconds", {}) for k in (
        f"n={n // 4} {kind} d={d} eps={relative}", f"n={n} {kind} d={d} eps={blur}"))
    named = solvers(x, y, epsilon) | ({BLOCKS: worker.solve} if worker else {})
    named, left_out = chosen(named, n, smaller, blurred)
    if old:
        peers = [k for k in old["seconds"]
                 if not k.startswith("otlab") and old["error"][k] <= VALID]
        best = {min(peers, key=old[word].get, default=None)
                for word in ("seconds", "processor seconds")}
        named = {k: v for k, v in named.items() if k in {"otlab", ADDED} | best}
        left_out = old["left out, predicted seconds"] | {
            k: v for k, v in left_out.items() if k == ADDED}
        if ADDED not in named:
            report.add("sinkhorn", key, old | {"left out, predicted seconds": left_out})
            return
    if BLOCKS in named:
        worker.load(x, y, epsilon, TOLERANCE)
    wall, processor, errors = {k: [] for k in named}, {k: [] for k in named}, {}

    def run(name):
        out, seconds, cpu = timed(named[name])
        wall[name].append(seconds)
        processor[name].append(cpu)
        return worker.potentials() if name == BLOCKS else out

    for name in named:
        errors[name] = error(x, y, *run(name), epsilon)
        if name not in EAGER and (name, n, d) not in SEEN:  # this run compiled: ε is traced
            wall[name].clear(), processor[name].clear()
            SEEN.add((name, n, d))
    for _ in range(REPEATS):
        for name in named:
            if sum(wall[name]) < PATIENCE and len(wall[name]) < REPEATS:
                run(name)
    seconds, cpu = median(wall), median(processor)
    valid = [k for k in named if not k.startswith("otlab") and errors[k] <= VALID]
    best = min(valid, key=seconds.get, default=None)
    gain = seconds[best] / seconds["otlab"] if best else None
    gain_cpu = min(cpu[k] for k in valid) / cpu["otlab"] if best else None
    print(f"\nn = {n}, {kind}, d = {d}, ε/std(C) = {relative}: "
          + (f"{gain:.1f}× the best valid peer ({best}), {gain_cpu:.1f}× by the processor"
             if best else "no valid peer in time"))
    for name in named:
        note = "" if errors[name] <= VALID else "  misses the tolerance"
        print(f"  {name:24s} {seconds[name]:9.4f} s  {cpu[name]:9.4f} s   error "
              f"{errors[name]:.1e}{note}", flush=True)
    new = {"seconds": seconds, "processor seconds": cpu, "error": errors}
    if old and best != ADDED:               # it changes nothing but the list of those tried
        new = {word: {ADDED: values[ADDED]} for word, values in new.items()}
        best, gain, gain_cpu = (
            old[word] for word in ("best peer", "speed-up", "speed-up, processor"))
    report.add("sinkhorn", key, {
        "n": n, "clouds": kind, "d": d, "epsilon": relative,
        **{word: old.get(word, {}) | values for word, values in new.items()},
        "best peer": best, "speed-up": gain, "speed-up, processor": gain_cpu,
        "left out, predicted seconds": left_out})
    assert all(errors[name] <= VALID for name in named if name.startswith("otlab"))


@pytest.mark.parametrize("n", [n for n in POINTS if n <= 4096])
def test_exact_assignment(n):
    """For scale: the Hungarian method of SciPy and POT's network simplex, once each."""
    x, y = clouds("gaussians", n, 8)
    C, uniform = np.asarray(-x @ y.T, np.float64), np.full(n, 1 / n)
    exact = {"SciPy assignment": lambda: linear_sum_assignment(C),
             "POT emd": lambda: ot.emd(uniform, uniform, C)}
    seconds = {name: timed(solve)[1] for name, solve in exact.items()}
    print(f"\nn = {n}, exact: {seconds}")
    report.add("exact", f"n={n}", {"n": n, "clouds": "gaussians", "d": 8, "seconds": seconds})


@pytest.mark.skipif(not LARGE, reason="OTLAB_BENCH_LARGE=1 asks for it")
def test_fifty_thousand_points(worker):
    """Once each: ours and OTT's streaming mode, d = 8, ε/std(C) = 0.1; errors from samples."""
    n = 50_000
    x, y = clouds("gaussians", n, 8)
    epsilon = relative_epsilon(x, y, 0.1)
    few = (x[:512], y[:512])
    sinkhorn(*few, epsilon=epsilon, cost="dot", method="stream")
    r, wall, cpu = timed(lambda: jax.block_until_ready(sinkhorn(x, y, epsilon=epsilon, cost="dot")))
    shift = np.log(n) * float(epsilon)
    row = {"n": n, "seconds": {"otlab": wall}, "processor seconds": {"otlab": cpu},
           "steps": {"otlab": int(r.steps)},
           "error": {"otlab": error(x, y, r.f - shift, r.g - shift, epsilon)}}
    report.add("large", f"n={n}", row)
    print(f"\nn = {n}: {row}", flush=True)
    assert r.method == "stream" and row["error"]["otlab"] <= VALID
    if worker:
        worker.load(x, y, epsilon, TOLERANCE)
        out, wall, cpu = timed(worker.solve)
        row["seconds"][BLOCKS], row["processor seconds"][BLOCKS] = wall, cpu
        row["steps"][BLOCKS] = out["steps"]
        row["error"][BLOCKS] = error(x, y, *worker.potentials(), epsilon)
        report.add("large", f"n={n}", row)
        print(f"n = {n}: {row}")


MEMORY = r"""
import re, sys
import jax, jax.numpy as jnp
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn
n = int(sys.argv[1])
x, y = jax.random.normal(jax.random.key(0), (2, n, 64))
few = sinkhorn(x[:64], y[:64], epsilon=6.4, cost="dot", max_steps=1, method="stream").f.sum()
status = lambda: open("/proc/self/status").read()      # ru_maxrss would remember who started us
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", status())[1]) / 1024
before = peak()
r = sinkhorn(x, y, epsilon=0.8, cost="dot", max_steps=2, method="stream")
jax.block_until_ready(r.f)
print(before, peak())
"""


@pytest.mark.skipif(not LARGE, reason="OTLAB_BENCH_LARGE=1 asks for it")
def test_memory_of_streaming():
    """Peak resident memory of a process that streams, d = 64, in MiB, and the growth with n."""
    peaks = {}
    for n in (25_000, 50_000, 100_000):
        out = subprocess.run([sys.executable, "-c", MEMORY, str(n)], check=True, text=True,
                             capture_output=True).stdout
        before, peak = map(float, out.split())
        peaks[n] = {"before": before, "peak": peak}
        print(f"\nn = {n}: {before:.0f} MiB before, {peak:.0f} MiB at the peak", flush=True)
    report.add("large", "memory", {"d": 64, "MiB": peaks})
    assert peaks[100_000]["peak"] < 1536


def test_the_geometric_mean_is_reported():
    """Over all cells in which a peer reached the tolerance in time."""
    rows = report.read("sinkhorn").values()
    for word in ("speed-up", "speed-up, processor"):
        gains = [row[word] for row in rows if row.get(word)]
        assert gains
        print(f"\n{word}: {len(gains)} of {len(rows)} cells have a valid peer: geometric mean "
              f"{np.exp(np.mean(np.log(gains))):.1f}×, least {min(gains):.2f}×")
