"""What a first answer costs: one library, one problem, one fresh process.

    python tests/support/first_call.py otlab 512 2

prints one JSON line: CPU seconds (of this process, system calls included) of the import, of the
first solve, of the first solve at three points fewer, and of a solve later on; and, for otlab, of
the first call of what is asked of a result; and the L1 error of the first solve's marginals, rows
and columns, recomputed in float64. Two Gaussian clouds, epsilon a tenth of std(C).
"""

import json
import os
import sys
from functools import partial

import numpy as np

LATER = 5  # solves of which the mean counts


def cpu() -> float:
    """Seconds of the processor that this process has used, user and system."""
    return sum(os.times()[:2])


def clouds(n, d):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    y = rng.normal(size=(n, d)) * (1 + np.arange(d) / d)
    x, y = ((v - v.mean(0)).astype(np.float32) for v in (x, y))
    spread = np.sqrt(np.sum(np.cov(x.T) * np.cov(y.T)))
    return x, y, float(0.1 * spread)


def coupled(f, g, C, epsilon):
    """exp((f + g - C) / epsilon) / n^2, in float64."""
    f, g, C = (np.asarray(v, np.float64) for v in (f, g, C))
    return np.exp((f.ravel()[:, None] + g.ravel() - C) / epsilon) / len(C) ** 2


def products(x, y):
    """-<x, y> in float64."""
    return -np.asarray(x, np.float64) @ np.asarray(y, np.float64).T


def otlab():
    import jax

    from otlab.couplings.entropic_ot.sinkhorn import sinkhorn

    def solve(x, y, epsilon):
        return jax.block_until_ready(sinkhorn(x, y, epsilon=epsilon, cost="dot", max_steps=20_000))

    def gradient(x, y, epsilon):
        return jax.grad(lambda x: sinkhorn(x, y, epsilon=epsilon, cost="dot").dual_value())(x)

    def asked(x, y, epsilon, result):
        key = jax.random.key(0)
        return {"sample_pairs": lambda: result.sample_pairs(key), "sharpness": result.sharpness,
                "plan": result.plan, "dual_value": result.dual_value,
                "gradient": partial(gradient, jax.device_put(x), y, epsilon)}

    def plan(r, x, y, epsilon):
        return coupled(r.f, r.g, products(x, y), epsilon)

    return solve, plan, asked


def ott():
    import jax
    from ott.geometry import costs, pointcloud
    from ott.solvers import linear

    @jax.jit
    def solver(x, y, epsilon):
        geometry = pointcloud.PointCloud(x, y, cost_fn=costs.NegDotProduct(), epsilon=epsilon)
        return linear.solve(geometry, threshold=1e-3, max_iterations=20_000)

    def solve(x, y, epsilon):
        with jax.numpy_dtype_promotion("standard"):
            out = solver(x, y, epsilon)
            return jax.block_until_ready((out.f, out.g))

    def plan(out, x, y, epsilon):  # its potentials hold the weights: P = exp((f + g - C) / epsilon)
        return coupled(*out, products(x, y), epsilon) * len(x) ** 2

    return solve, plan, None


def pot():
    import ot

    def solve(x, y, epsilon):
        uniform = np.full(len(x), 1 / len(x), np.float32)
        return ot.bregman.sinkhorn_log(uniform, uniform, -x @ y.T, epsilon,
                                       stopThr=1e-3 / len(x) ** 0.5, numItermax=1_000)

    return solve, lambda P, *_: np.asarray(P, np.float64), None


def geomloss():
    import torch
    from geomloss import SamplesLoss

    def solve(x, y, epsilon):
        loss = SamplesLoss("sinkhorn", p=2, blur=epsilon**0.5, scaling=0.9, debias=False,
                           potentials=True, backend="tensorized")
        return loss(torch.tensor(x), torch.tensor(y))

    def plan(out, x, y, epsilon):  # of the cost |x - y|^2 / 2
        x, y = x.astype(np.float64), y.astype(np.float64)
        C = ((x**2).sum(1)[:, None] + (y**2).sum(1)) / 2 + products(x, y)
        return coupled(*out, C, epsilon)

    return solve, plan, None


LIBRARIES = {"otlab": otlab, "OTT-JAX": ott, "POT": pot, "GeomLoss": geomloss}


def spent(call, *arguments):
    """(CPU seconds, what it returned)."""
    before = cpu()
    out = call(*arguments)
    return round(cpu() - before, 4), out


def marginal_error(P) -> float:
    """Sum of both L1 gaps of a plan (n, n) with equal weights, in units of mass."""
    return sum(float(np.abs(P.sum(axis) - 1 / len(P)).sum()) for axis in (0, 1))


def measured(library: str, n: int, d: int) -> dict:
    """The numbers of one cell."""
    row = {}
    row["import"], (solve, plan, asked) = spent(LIBRARIES[library])
    problem, smaller = clouds(n, d), clouds(n - 3, d)
    row["first"], result = spent(solve, *problem)
    row["error"] = float(f"{marginal_error(plan(result, *problem)):.1e}")
    row["next size"], _ = spent(solve, *smaller)
    row["steady"] = round(spent(lambda: [solve(*problem) for _ in range(LATER)])[0] / LATER, 4)
    if asked:
        import jax

        calls = asked(*problem, result)
        row["asked"] = {name: spent(lambda call=call: jax.block_until_ready(call()))[0]
                        for name, call in calls.items()}
    return row


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
