"""Runs in pieces: the weights of one piece, through kills, torn files and eight devices."""

import errno
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_fields import Affine
from small_run import IMPORT, SETTINGS, problem

from otlab.core import devices
from otlab.flows.objectives import FlowMatching
from otlab.flows.reflow.times import Exponential
from otlab.learning import checkpointing as runs
from otlab.learning import fit as training
from otlab.learning.checkpointing import checkpoints, lock
from otlab.learning.nets.mlp import Velocity
from otlab.learning.optimiser import Group


def arrays(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def assert_same_bits(one, other):
    for a, b in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def unbroken():
    return runs.train(*problem(), **SETTINGS)


def steps_in(folder):
    return sorted(int(p.name) for p in Path(folder).iterdir() if p.name.isdigit())


def test_oracle_a_run_in_pieces_is_fit_in_one(unbroken):
    settings = {k: v for k, v in SETTINGS.items() if k != "every"}
    whole = training.fit(*problem(), **settings)
    assert whole.losses.shape == unbroken.losses.shape == (50,)
    assert_same_bits(whole, unbroken)
    assert float(unbroken.losses[-10:].mean()) < 0.8 * float(unbroken.losses[:10].mean())


def test_invariant_the_length_of_pieces_is_no_setting(unbroken):
    assert_same_bits(unbroken, runs.train(*problem(), **SETTINGS | {"every": 35}))


def test_invariant_a_finished_run_is_read_back_without_a_step(unbroken, tmp_path):
    told = []
    first = runs.train(*problem(), **SETTINGS, folder=tmp_path, report=lambda *x: told.append(x))
    assert [k for k, _ in told] == [10, 20, 30, 40, 50] and steps_in(tmp_path) == [40, 50]
    assert told[-1][1] == pytest.approx(float(first.losses[-10:].mean()), rel=1e-5)
    again = runs.train(*problem(), **SETTINGS | {"every": 7}, folder=tmp_path,
                       report=lambda *x: pytest.fail("a finished run took a step"))
    assert_same_bits(unbroken, first)
    assert_same_bits(unbroken, again)


KILLED = IMPORT + """
import os, signal, sys
folder, when = sys.argv[1:]
def report(step, loss):
    print(step, flush=True)
    if when == "after" and step == 20:
        os.kill(os.getpid(), signal.SIGKILL)
if when == "during":
    from orbax.checkpoint._src.path import atomicity
    whole, renamed = atomicity.AtomicRenameTemporaryPath.finalize, []
    async def finalize(self):
        if str(self._final_path).endswith("/30"):      # all is written, nothing is renamed
            os.kill(os.getpid(), signal.SIGKILL)
        await whole(self)
    atomicity.AtomicRenameTemporaryPath.finalize = finalize
runs.train(*problem(), **SETTINGS, folder=folder, report=report)
"""


@pytest.mark.deep
@pytest.mark.parametrize("when, done", [("after", [10, 20]), ("during", [10, 20])])
def test_invariant_a_killed_run_goes_on_to_the_weights_of_an_unbroken_one(
        when, done, unbroken, tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), when], text=True,
                            capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.split() == [str(k) for k in done]
    assert steps_in(tmp_path) == done
    if when == "during":
        assert any("tmp" in p.name for p in tmp_path.iterdir())         # a torn save was left
    left = (tmp_path / lock.NAME).read_text()          # and the lock's file, which stops nobody
    assert left.startswith("process ") and f"process {os.getpid()} " not in left
    told = []
    resumed = runs.train(*problem(), **SETTINGS, folder=tmp_path,
                         report=lambda step, loss: told.append(step))
    assert told == [30, 40, 50]                                 # one interval was lost at most
    assert_same_bits(unbroken, resumed)
    assert steps_in(tmp_path) == [40, 50] == sorted(int(p.name) for p in tmp_path.iterdir())


SECOND = IMPORT + """
import sys
try:
    runs.train(*problem(), **SETTINGS, folder=sys.argv[1])
except RuntimeError as refusal:
    print(refusal)
"""


@pytest.mark.deep
def test_failure_a_second_process_is_refused_and_told_who_is_there(unbroken, tmp_path):
    folder, said = tmp_path / "first", []

    def report(step, loss):
        if step == 20:
            second = subprocess.run([sys.executable, "-c", SECOND, str(folder)], text=True,
                                    capture_output=True, timeout=300, check=True)
            said.append(second.stdout)
            with pytest.raises(lock.InUse), lock.alone(folder):      # nor twice in one process
                pass

    first = runs.train(*problem(), **SETTINGS, folder=folder, report=report)
    assert said[0].startswith(f"folder first is in use: process {os.getpid()} on ")
    assert "Wait until it ends or stop it" in said[0] and "name another folder" in said[0]
    assert_same_bits(unbroken, first)
    assert steps_in(folder) == [40, 50] and not (folder / lock.NAME).exists()


def test_invariant_a_lock_ends_with_its_block_and_needs_a_system_that_has_locks(
        tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt), lock.alone(tmp_path):
        raise KeyboardInterrupt
    import fcntl

    def refuse(file, how):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.alone(tmp_path):
        pass
    monkeypatch.undo()
    with lock.alone(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / lock.NAME).read_text()
    assert not list(tmp_path.iterdir())


def stop_at(step):
    def report(done, loss):
        if done == step:
            raise KeyboardInterrupt
    return report


@pytest.fixture
def interrupted(tmp_path):
    """A folder with checkpoints of steps 10 and 20."""
    with pytest.raises(KeyboardInterrupt):
        runs.train(*problem(), **SETTINGS, folder=tmp_path, report=stop_at(20))
    return tmp_path


def test_failure_a_second_run_in_one_folder_is_refused_and_names_the_first(tmp_path):
    """Whether two processes see each other is tested in the stage deep."""
    with lock.alone(tmp_path):
        said = f"{tmp_path.name} is in use: process {os.getpid()} on .*Wait until it ends"
        with pytest.raises(lock.InUse, match=said), lock.alone(tmp_path):
            pass


def test_invariant_what_a_killed_save_left_behind_goes(interrupted, unbroken):
    torn = interrupted / "30.orbax-checkpoint-tmp-7"
    torn.mkdir()
    resumed = runs.train(*problem(), **SETTINGS, folder=interrupted)
    assert_same_bits(unbroken, resumed)
    assert not torn.exists()


def test_failure_a_batch_that_does_not_divide_over_a_mesh():
    mesh = types.SimpleNamespace(shape={devices.AXIS: 8})        # only its size is asked for
    with pytest.raises(ValueError, match="batch of 12 rows does not divide over 8 devices; take 8"):
        runs.train(*problem(), **SETTINGS | {"batch": 12}, mesh=mesh)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "settings"])
def test_invariant_a_damaged_newest_checkpoint_is_passed_over(damage, unbroken, interrupted):
    newest = interrupted / "20"
    if damage == "settings":
        (newest / "settings" / "metadata").write_text("{torn")
    else:
        for path in [p for p in newest.rglob("*") if p.is_file() and p.parent.name == "d"]:
            raw = bytearray(path.read_bytes())
            if damage == "gone":
                path.unlink()
            elif damage == "cut":
                path.write_bytes(raw[:len(raw) // 2])
            else:
                raw[len(raw) // 2] ^= 0xFF
                path.write_bytes(raw)
    told = []
    resumed = runs.train(*problem(), **SETTINGS, folder=interrupted,
                         report=lambda step, loss: told.append(step))
    assert told == [20, 30, 40, 50]
    assert_same_bits(unbroken, resumed)


def test_failure_nothing_readable_is_said_and_nothing_is_overwritten(interrupted):
    for path in interrupted.rglob("manifest.ocdbt"):
        path.write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"steps \[10, 20\] and none can be read.*Delete"):
        runs.train(*problem(), **SETTINGS, folder=interrupted)
    assert steps_in(interrupted) == [10, 20]


@pytest.mark.parametrize("change, sentence", [
    ({"batch": 32}, "batch was 16 there and is 32 here"), ({"rate": 2e-2}, "rate was float32 0.0"),
    ({"steps": 60}, "steps was 50"), ({"ema": None}, "ema was"), ({"decay": 0.0}, "decay was"),
    ({"betas": (0.9, 0.99)}, "beta_2 was float32 0.9"),
    ({"epsilon": 1e-7}, "epsilon was float32 9.9"),
    ({"groups": lambda path, tensor: Group()}, "groups was"),
    ({"schedule": lambda fraction: 1 - fraction}, "schedule was"),
    ({"block": 4}, "block was None there and is 4"),
    ({"objective": FlowMatching(times=Exponential(0.5))}, "objective was"),
    ({"key": jax.random.key(8)}, "key was"), ({"pairs": 1.0}, "source was"),
    ({"weights": 1.0}, "first weights was"),
    ({"model": Affine(jnp.eye(2), jnp.ones(2))}, "first weights was")])
def test_failure_other_settings_are_refused(change, sentence, interrupted):
    change = dict(change)
    key, model, pairs = problem()
    key = change.pop("key", key)
    if change.pop("pairs", None):
        pairs = (pairs[0], pairs[1].at[17, 0].add(1.0))
    if change.pop("weights", None):
        model = Velocity(2, width=8, depth=1, key=jax.random.key(9))
    model = change.pop("model", model)
    with pytest.raises(ValueError, match=f"holds a run with other settings.*{sentence}"):
        runs.train(key, model, pairs, **SETTINGS | change, folder=interrupted)
    assert steps_in(interrupted) == [10, 20]


def test_failure_a_lost_loss_stops_the_run_and_keeps_its_checkpoints(tmp_path):
    key, model, pairs = problem()

    class Breaks(eqx.Module):
        """Pairs that are infinite once in a while."""

        pairs: tuple

        def __call__(self, key):
            rows = jax.random.randint(key, (16,), 0, 200)
            x0, x1 = (x[rows] for x in self.pairs)
            return x0, jnp.where(jax.random.uniform(key) < 0.08, jnp.inf, x1)

    with pytest.raises(RuntimeError, match=r"not finite\) at step \d+ of 50.*lower rate"):
        runs.train(key, model, Breaks(pairs), **SETTINGS | {"every": 2}, folder=tmp_path)
    assert steps_in(tmp_path)


def test_failure_without_orbax_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    monkeypatch.setitem(sys.modules, "orbax", None)
    with pytest.raises(ImportError, match=r"otlab\[train\].*folder="):
        runs.train(*problem(), **SETTINGS, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


MANY = IMPORT + """
mesh = devices.mesh()
assert mesh.size == 8
key, model, pairs = problem()
fit = runs.train(key, model, pairs, **SETTINGS, mesh=mesh, folder={folder!r})
one = runs.train(key, model, pairs, **SETTINGS)
again = runs.train(key, model, pairs, **SETTINGS, mesh=mesh, folder={folder!r})
for a, b, c in zip(*(jax.tree.leaves(t.model.mlp.layers[0].weight) for t in (fit, one, again))):
    assert len(a.sharding.device_set) == 8 and a.sharding.is_fully_replicated
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(a, c)
np.testing.assert_allclose(fit.losses, one.losses, rtol=1e-4)

blocks = dict(SETTINGS, steps=4, every=4, block=8)
shared, alone = (runs.train(key, model, pairs, **blocks, mesh=m) for m in (mesh, None))
np.testing.assert_allclose(shared.losses, alone.losses, rtol=1e-4)

from otlab.learning.checkpointing.train import OverDevices
rows = jax.jit(OverDevices(mesh))((np.ones((16, 2), np.float32),))[0]
assert [s.data.shape for s in rows.addressable_shards] == [(2, 2)] * 8

from otlab.learning.checkpointing.train import _copied
from otlab.learning.loop import Run, _advance, init
from otlab.learning.optimiser import AdamW
run = Run(key, pairs, SETTINGS["objective"], 16, place=OverDevices(mesh))
state = init(model, AdamW(model, rate=1e-2), steps=50)
text = _advance.lower(*_copied((run, state), mesh), 10).compile().compiled.as_text()
assert "all-reduce" in text and "f32[2,8]" in text and "f32[16,8]" not in text   # two rows each
try:
    runs.train(key, model, pairs, **SETTINGS | dict(batch=12), mesh=mesh)
except ValueError as error:
    print(error)
"""


@pytest.mark.deep
def test_oracle_eight_devices_train_the_weights_of_one(tmp_path):
    said = devices.on_virtual_devices(MANY.format(folder=str(tmp_path)))
    assert "batch of 12 rows does not divide over 8 devices; take 8 or 16" in said


@pytest.mark.deep
def test_invariant_a_run_of_eight_devices_goes_on_on_one(unbroken, tmp_path):
    source = IMPORT + f"""
def stop(step, loss):
    if step == 20:
        raise SystemExit
runs.train(*problem(), **SETTINGS, mesh=devices.mesh(), folder={str(tmp_path)!r}, report=stop)
"""
    devices.on_virtual_devices(source)
    assert steps_in(tmp_path) == [10, 20]
    resumed = runs.train(*problem(), **SETTINGS, folder=tmp_path)
    for a, b in zip(arrays(unbroken), arrays(resumed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_invariant_checkpoints_hold_any_state(tmp_path):
    store = checkpoints.Checkpoints(tmp_path / "run", {"a": 1})
    state = Affine(jnp.eye(2), jnp.arange(2))
    one_step = {"loss": jax.ShapeDtypeStruct((), jnp.float32),
                "rows": jax.ShapeDtypeStruct((2,), jnp.int32)}
    assert store.newest(state, lambda: one_step) is None
    store.save(state, {"loss": np.zeros(3, np.float32), "rows": np.arange(6).reshape(3, 2)})
    like = Affine(jnp.zeros((2, 2)), jnp.zeros(2, int))
    found, history = store.newest(like, lambda: one_step)
    assert_same_bits(found, state)
    assert history["loss"].tolist() == [0, 0, 0]
    assert history["rows"].tolist() == [[0, 1], [2, 3], [4, 5]]


class Telling(eqx.Module):
    """Flow matching that tells how far the run is, and a number of two axes."""

    def __call__(self, key, model, x0, x1, *, step):
        loss = FlowMatching()(key, model, x0, x1)
        return loss, {"count": step.count, "both": jnp.stack([step.fraction, loss])}


def test_invariant_what_an_objective_tells_survives_an_interruption(tmp_path):
    settings = SETTINGS | {"objective": Telling()}
    with pytest.raises(KeyboardInterrupt):
        runs.train(*problem(), **settings, folder=tmp_path, report=stop_at(20))
    resumed = runs.train(*problem(), **settings, folder=tmp_path)
    whole = training.fit(*problem(), **{k: v for k, v in settings.items() if k != "every"})
    assert_same_bits(resumed, whole)
    assert resumed.told["count"].tolist() == list(range(50))
    np.testing.assert_array_equal(resumed.told["both"][:, 1], resumed.losses)
