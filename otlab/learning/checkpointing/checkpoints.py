"""Checkpoints of a run on disk: whole or not there, the last two kept."""

import dataclasses
import logging
import shutil
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

KEPT = 2


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, in a folder of its own.

    folder: made when it is not there.
    settings: what the run was started with, as JSON holds it; other settings are refused.

    Orbax writes each checkpoint under a temporary name and renames it once it is whole, so a
    save that was cut off is never met under a step's number. A checkpoint that was damaged
    later (a full disk, a copy that stopped) is passed over for the one before it.
    """

    folder: Path
    settings: dict

    def __post_init__(self):
        object.__setattr__(self, "folder", Path(self.folder).absolute())
        with self._manager():        # says at once when orbax is missing
            pass

    def newest(self, like, told):
        """(state, history) of the newest whole checkpoint, the state placed as `like`; or None.

        like: a state with the arrays' shapes, dtypes and shardings.
        told: function () -> {name: shape and dtype} of what history holds of one step.

        Raises:
            ValueError: when the folder holds a run with other settings.
            RuntimeError: when there are checkpoints and none of them can be read.
        """
        args = _orbax().args
        for torn in self.folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(torn, ignore_errors=True)
        arrays, static = eqx.partition(like, eqx.is_array)
        wanted = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
                  for x in jax.tree.leaves(arrays)]
        failures = {}
        with self._manager() as manager:
            of_a_step = told() if manager.all_steps() else {}
            for step in sorted(manager.all_steps(), reverse=True):
                try:
                    found = manager.restore(step, args=args.Composite(settings=args.JsonRestore()))
                    self._refuse_others(found.settings)
                    history = {name: jax.ShapeDtypeStruct((step, *x.shape), x.dtype)
                               for name, x in of_a_step.items()}
                    tree = {"state": _named(wanted), "history": history}
                    tree = manager.restore(step, args=args.Composite(
                        run=args.StandardRestore(tree))).run
                except OtherSettings:
                    raise
                except Exception as error:     # whatever a damaged file makes its reader say
                    failures[step] = error
                    continue
                leaves = [tree["state"][name] for name in _named(wanted)]
                arrays = jax.tree.unflatten(jax.tree.structure(arrays), leaves)
                return eqx.combine(arrays, static), jax.tree.map(np.asarray, tree["history"])
        if failures:
            step, error = max(failures.items())
            raise RuntimeError(f"{self.folder.name} holds checkpoints of steps "
                               f"{sorted(failures)} and none can be read (step {step}: "
                               f"{str(error)[:200]}). Delete the folder to start anew.")
        return None

    def save(self, state, history: dict):
        """Write the state after the last step of history["loss"]; forget all but the last two."""
        args = _orbax().args
        leaves = jax.tree.leaves(eqx.filter(state, eqx.is_array))
        tree = {"state": _named(leaves), "history": history}
        step = len(history["loss"])
        with self._manager() as manager:
            if step in manager.all_steps():                # a damaged one, passed over
                manager.delete(step)
            manager.save(step, args=args.Composite(
                run=args.StandardSave(tree), settings=args.JsonSave(self.settings)))

    def _refuse_others(self, found: dict):
        for name in sorted(self.settings.keys() | found.keys()):
            then, now = found.get(name), self.settings.get(name)
            if then != now:
                then, now = (str(v) if len(str(v)) <= 60 else f"{str(v)[:57]}..."
                             for v in (then, now))
                raise OtherSettings(
                    f"folder {self.folder.name} holds a run with other settings: {name} was "
                    f"{then} there and is {now} here. Name another folder, or delete this one.")

    def _manager(self):
        orbax = _orbax()
        return orbax.CheckpointManager(self.folder, options=orbax.CheckpointManagerOptions(
            max_to_keep=KEPT, enable_async_checkpointing=False))


class OtherSettings(ValueError):
    """The folder belongs to another run."""


def _named(leaves) -> dict:
    return {f"{k:05d}": leaf for k, leaf in enumerate(leaves)}


def _orbax():
    try:
        import orbax.checkpoint as orbax
    except ImportError:
        raise ImportError("Checkpoints need orbax: `pip install 'otlab[train]'`, or leave out "
                          "folder= and train in one sitting.") from None
    logging.getLogger("absl").setLevel(logging.ERROR)
    return orbax
