"""A ready process: its forks begin alike, tell how they ended, and do not outlive it."""

import os
import subprocess
import time

import pytest

from otlab.core import devices, ready

pytestmark = pytest.mark.skipif(os.name != "posix", reason="systems that fork only")


@pytest.fixture(scope="module")
def process():
    """A ready process with one small module imported."""
    started = ready.Ready(modules=["colorsys"])
    yield started
    started.close()


def run(process, source, tmp_path, **environment):
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "errors", "wb") as errors:
        forked = process.fork(env=dict(os.environ) | environment, cwd=str(tmp_path), source=source,
                              stdout=out.fileno(), stderr=errors.fileno())
        code = forked.wait(60)
    return code, (tmp_path / "out").read_text(), (tmp_path / "errors").read_text()


def test_a_fork_has_the_imports_and_its_own_environment_and_folder(process, tmp_path):
    says = ("import os, sys\n"
            "print('colorsys' in sys.modules, os.getcwd(), os.environ['A'], __name__)")
    assert run(process, says, tmp_path, A="1") == (0, f"True {tmp_path} 1 __main__\n", "")


def test_invariant_nothing_of_one_fork_reaches_another(process, tmp_path):
    leaves = ("import colorsys, os, random, sys\nprint(hasattr(colorsys, 'mine'), "
              "os.environ.get('MINE'), 'mine' in sys.path, random.random())\n"
              "colorsys.mine = 1\nos.environ['MINE'] = '1'\nsys.path.append('mine')\nmine = 1")
    first, second = (run(process, leaves, tmp_path)[1].split() for _ in range(2))
    assert first[:3] == second[:3] == ["False", "None", "False"]
    assert first[3] != second[3], "forks share a state of random numbers"


@pytest.mark.parametrize("source, code, words", [
    ("raise SystemExit(3)", 3, ""), ("1 / 0", 1, "ZeroDivisionError"),
    ("import os\nos.kill(os.getpid(), 9)", -9, "")])
def test_failure_of_a_fork_is_told(process, tmp_path, source, code, words):
    got, out, errors = run(process, source, tmp_path)
    assert (got, out) == (code, "") and words in errors


def test_failure_of_an_environment_that_imports_have_read(process, tmp_path):
    with pytest.raises(OSError, match="started with another JAX_ENABLE_X64"):
        run(process, "1", tmp_path, JAX_ENABLE_X64="1")


def test_a_fork_is_stopped_and_ends_with_its_process(tmp_path):
    started = ready.Ready(modules=[])
    with open(os.devnull, "wb") as nowhere:
        streams = {"stdout": nowhere.fileno(), "stderr": nowhere.fileno()}
        long = {"env": dict(os.environ), "cwd": str(tmp_path), "source": "import time\n"
                "time.sleep(600)"} | streams
        stopped, left = started.fork(**long), started.fork(**long)
    assert stopped.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        stopped.wait(0.1)
    stopped.kill()
    assert stopped.wait(30) == -9 and left.poll() is None
    started.close()
    assert left.wait(30) == -9
    for _ in range(100):
        try:
            os.kill(left.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a fork outlived its process")


def test_virtual_devices_come_from_a_ready_process_or_a_new_one(process, tmp_path, monkeypatch):
    source = "import os, sys\nprint('colorsys' in sys.modules, os.environ['XLA_FLAGS'])"
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.delenv(ready.VARIABLE, raising=False)
    new = devices.on_virtual_devices(source, count=3)
    monkeypatch.setenv(ready.VARIABLE, process.path)
    forked = devices.on_virtual_devices(source, count=3)
    assert new.split()[0] == "False" and forked.split()[0] == "True"
    assert new.split()[1:] == forked.split()[1:] and "device_count=3" in new
    for path in (process.path, "off"):
        monkeypatch.setenv(ready.VARIABLE, path)
        with pytest.raises(RuntimeError, match="3 virtual devices:[^$]*KeyError"):
            devices.on_virtual_devices("{}['x']", count=3)
        with pytest.raises(subprocess.TimeoutExpired):
            devices.on_virtual_devices("import time\ntime.sleep(60)", timeout=0.5)


def test_jax_in_a_fork_sees_the_devices_asked_for(tmp_path):
    started = ready.Ready(modules=["jax"])
    try:
        code, out, errors = run(started, "import jax\nprint(len(jax.devices()), "
                                "jax.numpy.ones(3).sum())", tmp_path, JAX_PLATFORMS="cpu",
                                XLA_FLAGS="--xla_force_host_platform_device_count=4")
        assert (code, out) == (0, "4 3.0\n"), errors
        assert not errors.strip(), errors
    finally:
        started.close()
