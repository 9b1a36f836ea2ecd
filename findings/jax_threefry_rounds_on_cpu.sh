#!/usr/bin/env bash
# Claim: with jax 0.10.2 on a CPU, `jax.random.normal` takes two to three times as long to run,
#   and to compile, as the same twenty rounds of Threefry written out; the bits are equal.
# Expected: a library's own generator is at least as fast as its rounds retyped by a user; and a
#   loop of five turns, which jax writes on CPUs alone, is there to make compiling cheaper.
# Why: XLA fuses no loop with what follows, so counters, rounds and the inverse error function each
#   pass through memory; and it compiles each piece of the loop as a kernel of its own, where the
#   rounds written out are one kernel with all the rest.
# Instead: where draws are a large part of a program on a CPU, register a lowering without the loop
#   for `jax.extend.random.threefry2x32_p`, and compare the bits.
# Seen on 2026-12-01:
#   jax 0.10.2 jaxlib 0.10.2
#   jax.random.normal: compiled in 277 ms, 1048576 numbers in 16.8 ms
#   rounds written out: compiled in 116 ms, 1048576 numbers in 6.2 ms
#   ratio compiling 2.4, running 2.7; numbers that differ: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
unset XLA_FLAGS JAX_DISABLE_MOST_OPTIMIZATIONS JAX_COMPILATION_CACHE_DIR
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -I - <<'PYTHON'
import sys
import time
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

N = 1 << 20
ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)


def rounds(key, low):
    """Threefry-2x32 of the counters (0, low), Salmon et al. (2011)."""
    keys = key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA)
    a, b = jnp.zeros_like(low) + keys[0], low + keys[1]
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << np.uint32(turn)) | (b >> np.uint32(32 - turn)))
        a = a + keys[(group + 1) % 3]
        b = b + keys[(group + 2) % 3] + np.uint32(group + 1)
    return a ^ b


def written_out(key):
    bits = rounds(jax.random.key_data(key), lax.iota(jnp.uint32, N))
    unit = lax.bitcast_convert_type((bits >> np.uint32(9)) | np.uint32(0x3F800000), jnp.float32)
    low = np.nextafter(np.float32(-1), np.float32(0))
    u = jnp.maximum(low, (unit - 1) * (np.float32(1) - low) + low)
    return np.float32(np.sqrt(2)) * lax.erf_inv(u)


def library(key):
    return jax.random.normal(key, (N,))


def processor_seconds(do, times):
    taken = []
    for _ in range(times):
        before = time.process_time()
        out = do()
        taken.append(time.process_time() - before)
    return min(taken), out


print("jax", version("jax"), "jaxlib", version("jaxlib"))
key = jax.random.key(0)
jax.block_until_ready(jax.jit(lambda x: x + 1)(jnp.ones(3)))
compiling, running, numbers = [], [], []
for name, draw in (("jax.random.normal", library), ("rounds written out", written_out)):
    seconds, program = processor_seconds(
        lambda d=draw: jax.jit(lambda k: d(k)).lower(key).compile(), 3)
    once, out = processor_seconds(lambda p=program: jax.block_until_ready(p(key)), 7)
    print(f"{name}: compiled in {1e3 * seconds:.0f} ms, {N} numbers in {1e3 * once:.1f} ms")
    compiling.append(seconds)
    running.append(once)
    numbers.append(np.asarray(out))
different = int((numbers[0] != numbers[1]).sum())
ratios = compiling[0] / compiling[1], running[0] / running[1]
print(f"ratio compiling {ratios[0]:.1f}, running {ratios[1]:.1f}; numbers that differ: {different}")
if different:
    sys.exit("changed: the rounds written out no longer give the library's numbers")
if min(ratios) < 1.4:
    sys.exit("changed: the library's own draw is no longer slower than the rounds written out")
PYTHON
