"""The run that the tests of `runs` train, here and in processes of their own."""

from pathlib import Path

import jax

from otlab.flows.objectives import FlowMatching
from otlab.learning.nets.mlp import Velocity

SETTINGS = dict(steps=50, batch=16, rate=1e-2, ema=0.9, decay=1e-3, every=10,
                objective=FlowMatching())
# The first lines of a source that runs elsewhere.
IMPORT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import jax, numpy as np
from small_run import SETTINGS, problem
from otlab.core import devices
from otlab.learning import checkpointing as runs
"""


def problem():
    """Key, model and pairs."""
    key = jax.random.key(7)
    x0 = jax.random.normal(key, (200, 2))
    return key, Velocity(2, width=8, depth=1, key=key), (x0, 2 * x0[::-1] + 1)

