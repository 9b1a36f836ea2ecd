"""Shared set-up: strict dtype promotion, seeded keys, markers that skip with a reason."""

import os

os.environ.setdefault("JAX_PLATFORMS", "")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def key():
    """A fixed PRNG key; split it, never reuse it."""
    return jax.random.key(0)


@pytest.fixture
def float64():
    """Run one test in double precision and put the setting back."""
    with jax.enable_x64(True):
        yield


def pytest_collection_modifyitems(items):
    """Skip what this machine cannot run, saying why."""
    if any(d.platform != "cpu" for d in jax.devices()):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no accelerator on this machine"))
