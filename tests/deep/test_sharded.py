"""`sinkhorn` on eight virtual devices: the same potentials, and only small messages."""

import json
import math
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from otlab.core import devices

SOURCE = """
import json, jax, jax.numpy as jnp
from otlab.core import devices
from otlab.core.costs import relative_epsilon
from otlab.core.inputs import simplex
from otlab.couplings.entropic_ot.engine.solve import Route, program
from otlab.couplings.entropic_ot.sinkhorn import sinkhorn

n, m, d = 640, 512, 8
key_x, key_y = jax.random.split(jax.random.key(0))
x, y = jax.random.normal(key_x, (n, d)), 2 * jax.random.normal(key_y, (m, d))
mesh, out = devices.mesh(), {}
rows, copy = devices.shard_rows(x, mesh), devices.replicate(y, mesh)
epsilon = relative_epsilon(x, y, 0.05)
for method in ("kernel", "stream", "plain"):
    how = dict(epsilon=epsilon, cost="dot", method=method, tol=1e-5, max_steps=5_000)
    one, many = sinkhorn(x, y, **how).require_converged(), sinkhorn(rows, copy, **how)
    gaps = [float(jnp.abs(i - j).max()) for i, j in ((one.f, many.f), (one.g, many.g))]
    out[method] = dict(gaps=gaps, status=int(many.status), spread=len(many.f.sharding.device_set))
a, b, g = devices.shard_rows(jnp.full(n, 1 / n), mesh), jnp.full(m, 1 / m), jnp.zeros(m)
programs = {}
for method, block in (("kernel", None), ("stream", 32)):
    how = Route("dot", block, method, True, 8)
    programs[method] = program.lower(rows, copy, a, b, g, epsilon, jnp.float32(1e-5), jnp.int32(9),
                                      how).compile().as_text()
blocks = dict(epsilon=epsilon, cost="dot", block=24, tol=1e-5)  # 24 divides neither 80 nor 512
one, many = sinkhorn(x, y, **blocks), sinkhorn(rows, copy, **blocks)
gap = max(abs(float(one.sharpness() - many.sharpness())),
          abs(float(one.dual_value() - many.dual_value())))
pairs = bool((one.sample_pairs(key_x) == many.sample_pairs(key_x)).mean() > 0.99)
weights = simplex("a", a, n, x.dtype, "sinkhorn")
print(json.dumps({"runs": out, "programs": programs, "of the plan": gap, "pairs": pairs,
                  "laid out": weights.sharding == a.sharding}))
"""


@pytest.fixture(scope="module")
def sharded():
    return json.loads(devices.on_virtual_devices(SOURCE, count=8))


def test_invariant_weights_stay_where_they_lie(sharded):
    assert sharded["laid out"]


@pytest.mark.parametrize("method", ["kernel", "stream", "plain"])
def test_invariant_eight_devices_find_the_potentials_of_one(sharded, method):
    run = sharded["runs"][method]
    assert run["status"] == 0 and run["spread"] == 8
    assert max(run["gaps"]) < 1e-3


def test_invariant_values_of_the_plan_do_not_depend_on_the_layout(sharded):
    assert sharded["of the plan"] < 1e-4 and sharded["pairs"]


@pytest.mark.parametrize("method", ["kernel", "stream"])
def test_invariant_a_sweep_sends_one_vector_of_columns(sharded, method):
    """Column sums: 4 m bytes at once beside a kernel, by blocks when streaming.

    And no message near the size of the cloud, 640 × 8, or of the table.
    """
    found = re.findall(r"= \(?(\w+)\[([\d,]*)\]\S* (all-reduce|all-gather|all-to-all"
                       r"|reduce-scatter|collective-permute)(?:-start)?\(",
                       sharded["programs"][method])
    sizes = [math.prod(int(k) for k in shape.split(",") if k) for _, shape, _ in found]
    assert (512 if method == "kernel" else 32) in sizes
    assert max(sizes) <= 640


def test_invariant_two_processes_share_one_problem():
    """The book's own script for many hosts, on this one: two processes of two devices."""
    page = Path(__file__).resolve().parents[2] / "jupyter_book" / "many_devices.md"
    script = next(code for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
                  if "jax.distributed" in code)
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    shared = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2",
                           "PJRT_NPROC": "8",          # see devices.on_virtual_devices
                           "JAX_PLATFORMS": "cpu", "COORDINATOR": f"localhost:{port}",
                           "PROCESSES": "2"}
    runs = [subprocess.Popen([sys.executable, "-c", script], text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=shared | {"PROCESS": str(k)})
            for k in (0, 1)]
    try:
        said = [run.communicate(timeout=240) for run in runs]
    finally:
        for run in runs:
            run.kill()
    for (out, errors), run in zip(said, runs, strict=True):
        assert run.returncode == 0, errors[-2000:]
        assert re.search(r"4 devices; sharpness 0\.3\d+; 256 potentials of 512 here", out), out
