"""`sinkhorn` on eight virtual devices: the same potentials, and only small messages."""

import json
import math
import re

import pytest

from otlab.core import devices

SOURCE = """
import json, jax, jax.numpy as jnp
from otlab.core import devices
from otlab.core.costs import relative_epsilon
from otlab.couplings.sinkhorn import _solve, sinkhorn

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
program = _solve.lower(rows, copy, a, b, g, epsilon, jnp.float32(1e-5), jnp.int32(9), "dot", None,
                       "kernel", True).compile().as_text()
print(json.dumps({"runs": out, "program": program}))
"""


@pytest.fixture(scope="module")
def sharded():
    return json.loads(devices.on_virtual_devices(SOURCE, count=8))


@pytest.mark.parametrize("method", ["kernel", "stream", "plain"])
def test_invariant_eight_devices_find_the_potentials_of_one(sharded, method):
    run = sharded["runs"][method]
    assert run["status"] == 0 and run["spread"] == 8
    assert max(run["gaps"]) < 1e-3


def test_invariant_a_kernel_sweep_sends_one_vector_of_columns(sharded):
    """4 m bytes for the column sums, and no message anywhere near the size of the table."""
    found = re.findall(r"= \(?(\w+)\[([\d,]*)\]\S* (all-reduce|all-gather|all-to-all"
                       r"|reduce-scatter|collective-permute)(?:-start)?\(", sharded["program"])
    sizes = [math.prod(int(k) for k in shape.split(",") if k) for _, shape, _ in found]
    assert 512 in sizes
    assert max(sizes) <= 2 * 640 * 8  # tiles of x, cut to whole blocks, for the few log passes
