"""The loop of `fit.fit` in pieces: checkpoints between them, batches over every device."""

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
from otlab.learning.fit import Fit, check_source
from otlab.learning.loop import Run, Step, advance, finished, init, take
from otlab.learning.optimiser import AdamW, cosine, grouped, single


def train(key, model, source, *, objective, steps: int, batch: int, rate, decay=0.0, epsilon=1e-8,
          betas=(0.9, 0.999), groups=None, schedule=cosine, ema=None, block: int | None = None,
          folder=None, every: int = 1_000, mesh: Mesh | None = None,
          report: Callable[[int, float], None] | None = None) -> Fit:
    """Train as `fit.fit` does, in compiled pieces of `every` steps; the weights are the same.

    Args:
        key, model, source, objective, steps, batch: as in `fit.fit`.
        rate, decay, epsilon, betas, groups, schedule, ema: as there.
        block: as there; with a mesh its devices share each block.
        folder: None, or where the run keeps its last two checkpoints, one after each piece. A
            run that was cut off goes on from the newest whole one, and so loses at most one
            piece; a finished one is read back. One process at a time: a second is refused.
            With `block`, sittings on CPUs of different numbers of cores agree to rounding only.
            Needs orbax, the extra `train`.
        every: steps of a piece; may change between sittings, as nothing else may.
        mesh: None, or `core.devices.mesh()`: the rows of each batch are laid out over its
            devices, the model and the source are copied to all. Sums then run in another order,
            so weights agree with those of one device to rounding only.
        report: None, or called after each piece with the steps done and the mean loss of it.

    Returns:
        Fit(model, losses, told), of all sittings.

    Raises:
        ValueError: as `fit`; when the rows of a batch do not divide over the mesh; when the
            folder holds a run with other settings (the first difference is named).
        RuntimeError: when a loss is not finite: nothing is saved from then on, the
            checkpoints before it stay. `lock.InUse` when another process trains in the
            folder.
        ImportError: for a folder without orbax.
    """
    steps, every = positive_int("steps", steps), positive_int("every", every)
    source, batch = check_source(source), positive_int("batch", batch)
    optimizer = AdamW(model, rate=rate, decay=decay, epsilon=epsilon, betas=betas, groups=groups,
                      schedule=schedule)
    ema = None if ema is None else jax.numpy.asarray(single("ema", ema, None), "float32")
    checkpoints = None
    if folder is not None:
        checkpoints = Checkpoints(folder, {
            "model": shapes(model), "first weights": digest(model), "key": describe(key),
            "source": describe(source), "steps": steps, "batch": batch, "ema": describe(ema),
            "objective": describe(objective), "block": block, "schedule": describe(schedule),
            **{name: describe(np.float32(x)) for name, x in {
                "rate": rate, "decay": decay, "epsilon": epsilon, "beta_1": betas[0],
                "beta_2": betas[1]}.items()},
            "groups": None if groups is None else describe(grouped(model, groups))})
    run = Run(key, source, objective, batch, block)
    state, history = init(model, optimizer, steps=steps, ema=ema), {}
    if mesh is not None:
        _check_rows(run, mesh)
        run = eqx.tree_at(lambda run: run.place, run, OverDevices(mesh))
        run, state = _copied((run, state), mesh)
    with _held(checkpoints):
        if checkpoints:
            state, history = checkpoints.newest(state, lambda: _told(run, state)) or (state, {})
        done = len(history.get("loss", ()))
        while done < steps:
            state, new = advance(run, state, min(every, steps - done))
            history = _joined(history, new, done, steps)
            mean, done = float(history["loss"][done:].mean()), len(history["loss"])
            if checkpoints:
                checkpoints.save(state, history)
            if report:
                report(done, mean)
    history = jax.tree.map(jax.numpy.asarray, history)
    return Fit(_finished(state), history.pop("loss"), history)


def _joined(history: dict, new: dict, done: int, steps: int) -> dict:
    """The numbers of all steps so far, or RuntimeError when a loss is lost."""
    new = {name: np.asarray(x) for name, x in new.items()}
    lost = ~np.isfinite(new["loss"])
    if lost.any():
        raise RuntimeError(f"train lost its loss (not finite) at step {done + int(lost.argmax())} "
                           f"of {steps}; lower rate (try a tenth) or look at the source for huge "
                           "values. The checkpoints, if any, end before that step.")
    return {name: np.concatenate([history[name], x]) if done else x for name, x in new.items()}


def _told(run, state) -> dict:
    """Shape and dtype of what one step tells, by name."""
    info = eqx.filter_eval_shape(take, run, state)[1]
    return {name: x for name, x in info.items() if name != "gradient_norm"}


def _held(checkpoints):
    """The run's folder, held by this process; by the first of them when several train as one."""
    if checkpoints and jax.process_index() == 0:
        return alone(checkpoints.folder)
    return contextlib.nullcontext()


class OverDevices(eqx.Module):
    """Lays the rows of a batch out over a mesh; each device computes its own."""

    mesh: Mesh = eqx.field(static=True)

    def __call__(self, rows):
        """The same arrays, split along their first axis."""
        split = NamedSharding(self.mesh, PartitionSpec(devices.AXIS))
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, split), rows)


_finished = eqx.filter_jit(finished)


def _copied(tree, mesh):
    """Every array on every device of the mesh."""
    arrays, static = eqx.partition(tree, eqx.is_array)
    return eqx.combine(devices.replicate(arrays, mesh), static)


def _check_rows(run, mesh):
    size = mesh.shape[devices.AXIS]
    rows = len(eqx.filter_eval_shape(run.draw, Step(*np.zeros(2, np.int32)))[1][0])
    if rows % size:
        raise ValueError(f"a batch of {rows} rows does not divide over {size} devices; take "
                         f"{rows // size * size or size} or {-(-rows // size) * size}.")
