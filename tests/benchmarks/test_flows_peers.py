"""`make bench`: flow matching beside TorchCFM in one run: training, sampling, pairing a batch.

The same MLP or U-Net from the same weights, the same data, batch, Adam with cosine decay, float32,
both on all cores, or on OTLAB_BENCH_CORES of them, which a busy machine needs: threads that wait
for each other burn processor time. Compile time is left out; medians of interleaved runs, in steps,
points or batches per second of the clock and of the processor, the latter being what a busy machine
leaves of the truth.
OTLAB_BENCH_STEPS (default 300) is the length of a training run. Report:
_build/reports/bench_flows.json, see report.py.
"""

import os
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import report
import torch
import torchcfm_peer as peer
from independent_pairs import Independent

from otlab.core import data
from otlab.core.costs import relative_epsilon
from otlab.couplings import semidiscrete
from otlab.flows import sampling
from otlab.flows.large_sinkhorn_couplings import couple_in_batches
from otlab.flows.objectives import FlowMatching
from otlab.learning import fit as training
from otlab.learning import loop as steps
from otlab.learning.nets.mlp import Velocity
from otlab.learning.nets.unet import UNet
from otlab.learning.optimiser import AdamW

STEPS = int(os.environ.get("OTLAB_BENCH_STEPS", 300))
if "OTLAB_BENCH_CORES" in os.environ:                # before jax counts them
    cores = sorted(os.sched_getaffinity(0))[:int(os.environ["OTLAB_BENCH_CORES"])]
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(len(cores))
REPEATS, BATCH, RATE = 5, 256, 1e-3
EULER = 16
PROBLEMS = ["MLP 3 x 192, digits, d = 64", "MLP 3 x 96, eight Gaussians, d = 2",
            "U-Net (16, 32), digits, 8 x 8", "U-Net (32, 64), digits, 8 x 8"]

pytestmark = pytest.mark.skipif(not peer.ready(), reason="TorchCFM cannot be installed here")


def problem(name):
    """(data (N, ...), network)."""
    key = jax.random.key(0)
    if "eight" in name:
        return np.asarray(data.eight_gaussians(key, 10_000)), Velocity(2, width=96, key=key)
    digits = data.images("digits")
    if "U-Net" not in name:
        return digits.flat, Velocity(64, width=192, key=key)
    net = UNet((8, 8), (32, 64) if "64" in name else (16, 32), key=key)
    weight = 0.1 * jax.random.normal(key, net.conv_out.weight.shape)   # zero would hide the rest
    return digits.images, eqx.tree_at(lambda m: m.conv_out.weight, net, weight)


def compiles() -> bool:
    """Whether torch.compile works here (it needs a C++ compiler)."""
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2))
    except Exception as error:                       # many kinds, none of ours
        print(f"torch.compile does not work here: {str(error)[:200]}")
        return False
    return True


COMPILED = compiles()


def rates(runs: dict, work: float) -> tuple[dict, dict]:
    """Work per second of the clock and of the processor: medians of interleaved runs."""
    for run in runs.values():
        run()                                        # compiles
    seconds = {name: [] for name in runs}
    for _ in range(REPEATS):
        for name, run in runs.items():
            clock, processor = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return tuple({k: work / float(np.median([s[i] for s in v])) for k, v in seconds.items()}
                 for i in range(2))


def write(kind, key, unit, clock, processor, valid=None, **more):
    """One row: rates of all, and ours over the best valid peer, each by its best."""
    peers = [k for k in clock if not k.startswith("otlab") and k in (valid or clock)]
    own = [k for k in clock if k.startswith("otlab")]
    gains = {k: {name: rate[k] / max(rate[p] for p in peers)
                 for name, rate in (("clock", clock), ("processor", processor))} for k in own}
    print(f"\n{kind}, {key}, {unit} a second: clock, processor, and gains over the best peer")
    for k in clock:
        print(f"  {k:36s} {clock[k]:12.1f} {processor[k]:12.1f}  "
              + " ".join(f"{word} {v:.2f}" for word, v in gains.get(k, {}).items()) + "  "
              + " ".join(f"{name} {v[k]:.4g}" for name, v in more.items() if k in v))
    report.add("flows", f"{kind}, {key}", {
        "kind": kind, "problem": key, "unit": unit, "rate": clock, "processor rate": processor,
        "best peer": max(peers, key=processor.get), "gain": gains, "valid peers": peers, **more})


@pytest.mark.parametrize("name", PROBLEMS)
def test_networks_are_the_same(name):
    """Values and slopes of both networks, at random points."""
    y, velocity = problem(name)
    x, t = y[:32], np.linspace(0, 1, 32, dtype=np.float32)
    network = peer.network(velocity)
    theirs = network(torch.tensor(t), torch.tensor(x))
    torch.sum(theirs**2).backward()
    np.testing.assert_allclose(jax.vmap(velocity)(t, x), theirs.detach().numpy(), atol=1e-4)
    grads = eqx.filter_grad(lambda v: jnp.sum(jax.vmap(v)(jnp.asarray(t), jnp.asarray(x)) ** 2))(
        velocity)
    ours, theirs = (np.sort([float(np.abs(g).sum()) for g in slopes]) for slopes in (
        map(np.asarray, jax.tree.leaves(grads)),
        (p.grad.numpy() for p in network.parameters())))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)    # one number an array, in any layout


@pytest.mark.parametrize("name", PROBLEMS)
def test_training(name):
    """`fit`, and `step` in a Python loop, beside TorchCFM's loop."""
    y, velocity = problem(name)
    pairs, key = Independent(y, BATCH), jax.random.key(1)
    one = eqx.filter_jit(lambda key, state: steps.step(
        key, state, *pairs(key), objective=FlowMatching()))

    def whole(block=None):
        return np.asarray(training.fit(key, velocity, pairs, steps=STEPS, batch=BATCH, rate=RATE,
                                       block=block, objective=FlowMatching()).losses)

    def by_steps():
        state = steps.init(velocity, AdamW(velocity, rate=RATE), steps=STEPS)
        losses = []
        for k in range(STEPS):
            state, info = one(jax.random.fold_in(key, k), state)
            losses.append(info["loss"])
        return np.asarray(jnp.stack(losses))

    runs = {"otlab, fit": whole, "otlab, step": by_steps}
    if "U-Net" in name:
        runs["otlab, fit, block of 32"] = lambda: whole(32)
    for compiled in (False, True)[:1 + COMPILED]:
        run = peer.trainer(velocity, y, BATCH, RATE, compiled=compiled)
        runs["TorchCFM, compiled" if compiled else "TorchCFM"] = lambda run=run: run(STEPS)
    last = {k: float(run()[-STEPS // 4:].mean()) for k, run in runs.items()}
    clock, processor = rates(runs, STEPS)
    write("training", name, "steps", clock, processor, loss=last)
    assert max(last.values()) < 1.1 * min(last.values())           # all learn the same


@pytest.mark.parametrize("name", PROBLEMS)
def test_sampling(name):
    """Euler's method with 16 evaluations, 4,096 points or 1,024 images."""
    y, velocity = problem(name)
    n = 4096 if "MLP" in name else 1024
    x0 = np.asarray(jax.random.normal(jax.random.key(2), (n, *y.shape[1:])))
    ours, theirs = jnp.asarray(x0), torch.tensor(x0)
    runs = {"otlab, sample": lambda: np.asarray(sampling.sample(velocity, ours, steps=EULER))}
    if "U-Net" in name:
        runs["otlab, sample, block of 1,024"] = lambda: np.asarray(
            sampling.sample(velocity, ours, steps=EULER, block=1024))
    for compiled in (False, True)[:1 + COMPILED]:
        runs |= {k: lambda run=run: run(theirs).numpy()
                 for k, run in peer.samplers(velocity, EULER, compiled=compiled).items()}
    ends = {k: run() for k, run in runs.items()}
    for x1 in ends.values():
        np.testing.assert_allclose(x1, ends["otlab, sample"], atol=1e-3)
    write("sampling", name, "points", *rates(runs, n))


@pytest.mark.parametrize("n", [256, 1024])
def test_pairing(n):
    """One batch of n noises and n digits: what optimal transport adds to a step, and its worth.

    Quality is the mean of <x0, x1> / d over the pairs of eight draws, 0 for independent ones.
    Sinkhorn is solved at epsilon = 0.1 and 0.01 std(C), by ours to 1e-3, and by POT at 0.1 and
    to its 1e-9. A peer whose pairs are worth less than half of the exact ones does not count.
    """
    flat = data.images("digits").flat
    y = ((flat - flat.mean(0)) / np.maximum(flat.std(0), 1e-6)).astype(np.float32)
    rng = np.random.default_rng(0)
    x0 = rng.standard_normal((n, 64), np.float32)
    x1 = y[rng.choice(len(y), n, replace=False)]
    X, Y, key = jnp.asarray(x0), jnp.asarray(x1), jax.random.key(3)

    def solve(seed):
        return semidiscrete.solve(jax.random.key(seed), semidiscrete.standard_normal(64), y,
                                  epsilon=0.0, tol=0.02).require_converged()

    solve(0)                                               # compiles
    seconds = -time.process_time()
    coupling = solve(1)
    seconds += time.process_time()

    def ours(epsilon):
        j, batches = couple_in_batches(key, X, Y, n=n, epsilon=epsilon)
        assert batches.converged
        return x0, x1[np.asarray(j)]

    runs = {"otlab, Sinkhorn 0.1": lambda: ours(0.1), "otlab, Sinkhorn 0.01": lambda: ours(0.01),
            "otlab, semidiscrete look-up": lambda: (x0, y[np.asarray(coupling.assign(X))])}
    runs |= peer.pairings(x0, x1, float(relative_epsilon(X, Y, 0.1)))
    worth = {k: float(np.mean([np.mean(np.asarray(a) * np.asarray(b))
                               for a, b in (run() for _ in range(8))])) for k, run in runs.items()}
    exact = worth["TorchCFM, exact"]
    write("pairing", f"digits, n = {n}", "batches", *rates(runs, 1),
          valid=[k for k, v in worth.items() if v > exact / 2], alignment=worth,
          once={"otlab, semidiscrete look-up": seconds})
    assert worth["otlab, Sinkhorn 0.01"] > 0.9 * exact
    assert worth["otlab, semidiscrete look-up"] > exact
