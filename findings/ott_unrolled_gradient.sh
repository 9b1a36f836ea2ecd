#!/usr/bin/env bash
# Claim: in OTT-JAX 0.6.0 the unrolled gradient of Sinkhorn is silently wrong as soon as the
#   number of iterations is fixed (`min_iterations == max_iterations`): here by 47 %.
# Expected: a fixed number of iterations is the easy case of unrolling (one scan, no stopping
#   rule), and the gradient of the same iterations must not depend on how their end was asked for.
# Why: the backward scan starts at the first stored block of iterations, where it should at the
#   last. The value stays right, so nothing but the gradient shows it.
# Instead: `min_iterations=0, max_iterations=n, threshold=-1.0` runs the same n iterations with
#   the right gradient. Check an unrolled gradient against differences in float64 once.
# Seen on 2026-11-30:
#   ott-jax 0.6.0 jax 0.10.2
#   fixed by min = max: cost 3.836611161, gradient off by 4.7e-01 of its norm
#   fixed by threshold: cost 3.836611161, gradient off by 3.7e-10 of its norm
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q ott-jax==0.6.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu JAX_ENABLE_X64=1 "$folder/venv/bin/python" -I - <<'PYTHON'
import sys
from importlib.metadata import version

import jax
import jax.numpy as jnp
from ott.geometry import pointcloud
from ott.solvers import linear

key_x, key_y = jax.random.split(jax.random.key(0))
x, y = jax.random.normal(key_x, (12, 2)), jax.random.normal(key_y, (12, 2)) + 1


def cost(x, **iterations):
    """Transport cost of the plan after 200 iterations, to be differentiated through them."""
    geometry = pointcloud.PointCloud(x, y, epsilon=0.5)
    return linear.solve(geometry, implicit_diff=None, use_danskin=False, **iterations).primal_cost


print("ott-jax", version("ott-jax"), "jax", version("jax"))
seen = {}
for name, iterations in {
        "fixed by min = max": dict(min_iterations=200, max_iterations=200),
        "fixed by threshold": dict(min_iterations=0, max_iterations=200, threshold=-1.0)}.items():
    value = jax.jit(lambda x: cost(x, **iterations))
    moves = 1e-5 * jnp.eye(x.size).reshape(-1, *x.shape)
    truth = jax.lax.map(lambda move: value(x + move) - value(x - move), moves) / 2e-5
    reverse = jax.grad(value)(x)
    error = jnp.linalg.norm(reverse.ravel() - truth) / jnp.linalg.norm(truth)
    seen[name] = float(value(x)), float(error)
    print(f"{name}: cost {seen[name][0]:.9f}, gradient off by {seen[name][1]:.1e} of its norm")
(value_a, wrong), (value_b, right) = seen.values()
if not (abs(value_a - value_b) < 1e-9 and wrong > 0.1 and right < 1e-5):
    sys.exit("changed: the unrolled gradient no longer depends on how the iterations were fixed")
PYTHON
