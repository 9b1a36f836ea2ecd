"""Settings in words: the same in every process, different when they differ."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
from flow_fields import Affine

from otlab.flows.objectives import FlowMatching
from otlab.flows.reflow.times import Exponential
from otlab.learning.checkpointing.fingerprint import describe, digest

DESCRIBED = """
import functools, json, jax, jax.numpy as jnp
from otlab.flows.objectives import FlowMatching
from otlab.flows.reflow.times import Exponential
from otlab.learning.checkpointing.fingerprint import describe
def power(p):
    return lambda t, squares: t ** p
print(json.dumps([describe(FlowMatching(times=Exponential(0.5), weight=power(2.0))),
                  describe(functools.partial(jnp.add, 1)), describe(jax.random.key(3)),
                  describe({"a": [1.5, None, jnp.arange(3)]}), describe(jax.jit(power(3)))]))
"""


def test_invariant_descriptions_are_the_same_in_every_process():
    out = [subprocess.run([sys.executable, "-c", DESCRIBED], env=os.environ | {"PYTHONHASHSEED": s},
                          capture_output=True, text=True, check=True).stdout for s in "12"]
    assert out[0] == out[1] and "0x" not in out[0]


def test_oracle_descriptions_tell_settings_apart():
    def power(p):
        return lambda t, squares: t**p

    class Chart:
        def __init__(self, scale):
            self.scale = scale

        def __call__(self, x):
            return self.scale * x

    different = [FlowMatching(), FlowMatching(times=Exponential(2.0)),
                 FlowMatching(times=Exponential(0.1)), FlowMatching(weight=power(1.0)),
                 FlowMatching(weight=power(2.0)), functools.partial(jnp.add, 1),
                 functools.partial(jnp.add, 2), jnp.arange(4), jnp.arange(4.0),
                 jnp.arange(4).at[2].set(9), jax.random.key(1), jax.random.key(2),
                 1, 1.5, "1", None, True]
    words = [repr(describe(value)) for value in different]
    assert len(set(words)) == len(words)
    assert describe(FlowMatching()) == describe(FlowMatching())
    big = jnp.zeros(1 << 21).at[0].set(1.0)                  # 8 MiB: every other number is read
    assert describe(big) != describe(big.at[2].set(1.0))
    assert digest(Affine(jnp.eye(2), jnp.ones(2))) != digest(Affine(jnp.eye(2), jnp.zeros(2)))
    ring = [1]
    ring.append(ring)
    assert describe(ring) == [1, "itself"]
