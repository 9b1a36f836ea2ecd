"""The loop of `training.fit` in pieces: checkpoints between them, batches over every device."""

import contextlib
from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from otlab.core import devices
from otlab.core.inputs import positive_int
from otlab.learning.checkpointing.checkpoints import Checkpoints
from otlab.learning.checkpointing.fingerprint import describe, digest, shapes
from otlab.learning.checkpointing.lock import alone
from otlab.learning.fit import Fit, check_pairs, check_settings
from otlab.learning.loop import (
    FLOW_MATCHING,
    advance,
    advance_on_cores,
    begin,
    finished,
    shares_blocks,
)


def train(key, model, pairs, *, steps: int, batch: int, rate, ema=None, objective=FLOW_MATCHING,
          decay: float = 0.0, block: int | None = None, folder=None, every: int = 1_000,
          mesh: Mesh | None = None, report: Callable[[int, float], None] | None = None) -> Fit:
    """Train as `training.fit` does, in compiled pieces of `every` steps; the weights are the same.

    Args:
        key, model, pairs, steps, batch, rate, ema, objective, decay, block: as in
            `training.fit`; with a mesh its devices share each block.
        folder: None, or where the run keeps its last two checkpoints, one after each piece. A
            run that was cut off goes on from the newest whole one, and so loses at most one
            piece; a finished one is read back. One process at a time: a second is refused.
            With `block`, sittings on CPUs of different numbers of cores agree to rounding only.
            Needs orbax, the extra `train`.
        every: steps of a piece; may change between sittings, as nothing else may.
        mesh: None, or `core.devices.mesh()`: the rows of each batch are laid out over its
            devices, the model and the pairs are copied to all. Sums then run in another order,
            so weights agree with those of one device to rounding only.
        report: None, or called after each piece with the steps done and the mean loss of it.

    Returns:
        Fit(model, losses), the losses of all sittings.

    Raises:
        ValueError: as `fit`; when the rows of a batch do not divide over the mesh; when the
            folder holds a run with other settings (the first difference is named).
        RuntimeError: when a loss is not finite: nothing is saved from then on, the
            checkpoints before it stay. `lock.InUse` when another process trains in the
            folder.
        ImportError: for a folder without orbax.
    """
    steps, batch, rate, ema = check_settings(steps, batch, rate, ema)
    every, pairs = positive_int("every", every), check_pairs(pairs)
    checkpoints = None
    if folder is not None:
        checkpoints = Checkpoints(folder, {
            "model": shapes(model), "first weights": digest(model), "key": describe(key),
            "pairs": describe(pairs), "steps": steps, "batch": batch, "rate": describe(rate),
            "ema": describe(ema), "decay": describe(float(decay)),
            "objective": describe(objective), "block": block})
    state, losses = begin(model, steps=steps, rate=rate, ema=ema, decay=decay), np.zeros(0)
    place = as_it_is
    if mesh is not None:
        _check_rows(key, pairs, batch, mesh)
        place = OverDevices(mesh)
        key, state, pairs = _copied((key, state, pairs), mesh)
    on_cores = mesh is None and shares_blocks(key, state, pairs, block)
    with _held(checkpoints):
        if checkpoints:
            state, losses = checkpoints.newest(state) or (state, losses)
        while len(losses) < steps:
            count = min(every, steps - len(losses))
            if on_cores:
                state, new = advance_on_cores(key, state, pairs, count=count, batch=batch,
                                              block=block, objective=objective)
            else:
                state, new = _piece(key, state, pairs, count, batch, objective, place, block)
            new = np.asarray(new)
            if not np.isfinite(new).all():
                first = len(losses) + int(np.argmax(~np.isfinite(new)))
                raise RuntimeError(f"train lost its loss (not finite) at step {first} of {steps}; "
                                   "lower rate (try a tenth) or look at the pairs for huge values. "
                                   "The checkpoints, if any, end before that step.")
            losses = np.concatenate([losses, new]).astype(new.dtype)
            if checkpoints:
                checkpoints.save(state, losses)
            if report:
                report(len(losses), float(new.mean()))
    return Fit(_finished(state), jax.numpy.asarray(losses))


def _held(checkpoints):
    """The run's folder, held by this process; by the first of them when several train as one."""
    if checkpoints and jax.process_index() == 0:
        return alone(checkpoints.folder)
    return contextlib.nullcontext()


def as_it_is(rows):
    """A batch stays where it was made."""
    return rows


class OverDevices(eqx.Module):
    """Lays the rows of a batch out over a mesh; each device computes its own."""

    mesh: Mesh = eqx.field(static=True)

    def __call__(self, rows):
        """The same arrays, split along their first axis."""
        split = NamedSharding(self.mesh, PartitionSpec(devices.AXIS))
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, split), rows)


@eqx.filter_jit
def _piece(key, state, pairs, count, batch, objective, place, block=None):
    return advance(key, state, pairs, count=count, batch=batch, objective=objective, place=place,
                   block=block)


_finished = eqx.filter_jit(finished)


def _copied(tree, mesh):
    """Every array on every device of the mesh."""
    arrays, static = eqx.partition(tree, eqx.is_array)
    return eqx.combine(devices.replicate(arrays, mesh), static)


def _check_rows(key, pairs, batch, mesh):
    size = mesh.shape[devices.AXIS]
    rows = len(eqx.filter_eval_shape(pairs, key)[0]) if callable(pairs) else batch
    if rows % size:
        raise ValueError(f"a batch of {rows} rows does not divide over {size} devices; take "
                         f"{rows // size * size or size} or {-(-rows // size) * size}.")
