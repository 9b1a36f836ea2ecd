"""Shared set-up: strict dtype promotion, seeded keys, markers that skip with a reason."""

import gc
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


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_go():
    """Free what a file compiled. A process may hold 65,530 pieces of memory (Linux), each program
    takes dozens, and XLA dies when one more is refused: after some two thousand tests."""
    yield
    jax.clear_caches()
    gc.collect()


def pytest_collection_modifyitems(items):
    """Skip what this machine cannot run, saying why."""
    if any(d.platform != "cpu" for d in jax.devices()):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no accelerator on this machine"))
