#!/usr/bin/env bash
# Claim: with jax 0.10.2 on a CPU, training steps of a convolution inside one `lax.scan` take many
#   times as long (here 26) as the same steps, compiled alone, in a Python loop; the numbers are
#   equal.
# Expected: putting the loop into the compiled program saves a dispatch a step and costs nothing;
#   and channels-last images, here used, are known to keep a convolution fast inside a loop.
# Why: forward it is so. But the gradient of the filter is a convolution with the batch in the
#   place of the channels, and XLA brings that into its fast form only at the top level of a
#   program.
# Instead: keep the loop over steps outside `jit`, or write the filter's gradient out yourself as
#   a channels-last convolution (transpose images and cotangents first) in a `jax.custom_vjp`.
# Seen on 2026-11-30:
#   jax 0.10.2 jaxlib 0.10.2
#   forward: 32 ms outside, 25 ms inside lax.scan, ratio 0.8, results differ by 0e+00
#   training: 48 ms outside, 1237 ms inside lax.scan, ratio 26.0, results differ by 0e+00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
unset XLA_FLAGS JAX_DISABLE_MOST_OPTIMIZATIONS
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -I - <<'PYTHON'
import sys
import time
from importlib.metadata import version

import jax
import jax.numpy as jnp
from jax import lax

STEPS = 100
key_x, key_w = jax.random.split(jax.random.key(0))
images = jax.random.normal(key_x, (32, 8, 8, 16))
filters = jax.random.normal(key_w, (3, 3, 16, 16))


def convolve(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME",
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"))


def train(w):
    return w - 1e-6 * jax.grad(lambda w: jnp.sum(convolve(images, w) ** 2))(w)


def forward(x):
    return x + 1e-3 * convolve(x, filters)


def seconds(run, start):
    """Least processor seconds of three runs, after one that compiles; and what came out."""
    out = jax.block_until_ready(run(start))
    taken = []
    for _ in range(3):
        before = time.process_time()
        jax.block_until_ready(run(start))
        taken.append(time.process_time() - before)
    return min(taken), out


print("jax", version("jax"), "jaxlib", version("jaxlib"))
ratios = {}
for name, step, start in (("forward", forward, images), ("training", train, filters)):
    alone = jax.jit(step)

    def in_python(value):
        for _ in range(STEPS):
            value = alone(value)
        return value

    in_scan = jax.jit(lambda value: lax.scan(lambda v, _: (step(v), None), value, length=STEPS)[0])
    outside, expected = seconds(in_python, start)
    inside, got = seconds(in_scan, start)
    ratios[name] = inside / outside
    apart = float(jnp.max(jnp.abs(got - expected)) / jnp.max(jnp.abs(expected)))
    print(f"{name}: {1e3 * outside:.0f} ms outside, {1e3 * inside:.0f} ms inside lax.scan, "
          f"ratio {ratios[name]:.1f}, results differ by {apart:.0e}")
    if apart > 1e-4:
        sys.exit("changed: the two loops no longer compute the same")
if not (ratios["forward"] < 3 < 6 < ratios["training"]):
    sys.exit("changed: the gradient of a convolution is no longer slow inside a loop")
PYTHON
