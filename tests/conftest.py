"""Shared set-up: strict dtype promotion, seeded keys, markers that skip with a reason."""

import gc
import os
import time
from pathlib import Path

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


DEEP = Path(__file__).parent / "deep"
_first_deep = []  # when the first deep test of this process began


def pytest_addoption(parser):
    parser.addoption("--deep-seconds", type=float, default=0, metavar="N",
                     help="begin no deep test after N seconds of them (0: no limit)")


def pytest_collection_modifyitems(items):
    """Skip what this machine cannot run, saying why; all of tests/deep is deep."""
    for item in items:
        if DEEP in item.path.parents:
            item.add_marker(pytest.mark.deep)
    if any(d.platform != "cpu" for d in jax.devices()):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no accelerator on this machine"))


def pytest_runtest_setup(item):
    """CI begins no deep test late; what it leaves out it says, and `make test-all` runs it."""
    if item.get_closest_marker("deep"):
        _first_deep.append(time.monotonic())
        limit = item.config.getoption("deep_seconds")
        if limit and time.monotonic() - _first_deep[0] > limit:
            pytest.skip(f"left out after {limit:.0f} s of deep tests; `make test-all` runs it")
