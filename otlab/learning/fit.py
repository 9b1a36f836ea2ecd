"""Train a model in one call, in one compiled loop: one model, or many side by side."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from otlab.core.inputs import all_finite, positive_int
from otlab.learning.loop import Run, advance, finished, init, shares_blocks
from otlab.learning.optimiser import AdamW, cosine, single


class Fit(eqx.Module):
    """A trained model and, for every step, its loss, shape (steps,), in the objective's units.

    told: what else the objective told, each (steps, ...), by name. Losses of different sources are
    not comparable where each has an irreducible part of its own.
    """

    model: eqx.Module
    losses: Float[Array, " steps"]
    told: dict[str, Array] = dataclasses.field(default_factory=dict)

    def require_finite(self) -> "Fit":
        """Return self, or raise RuntimeError saying at which step the loss was lost."""
        bad = ~np.isfinite(np.asarray(self.losses))
        if bad.any():
            first = int(np.argmax(bad.reshape(-1, bad.shape[-1]).any(0)))
            raise RuntimeError(
                f"fit lost its loss (not finite) at step {first} of {self.losses.shape[-1]}; "
                "lower rate (try a tenth) or look at the source for huge values."
            )
        return self


def fit(key, model, source, *, objective, steps: int, batch: int, rate, decay=0.0, epsilon=1e-8,
        betas=(0.9, 0.999), groups=None, schedule=cosine, ema=None,
        block: int | None = None) -> Fit:
    """Minimise objective(key, model, *rows) over `steps` batches of rows: AdamW.

    Args:
        key: PRNG key; step k draws its batch and what the objective wants from fold_in(key, k).
        model: any pytree; a copy of it is trained, all its inexact arrays.
        source: a tuple of arrays, (n, ...) each, of which each step draws `batch` rows with
            replacement (n is unrelated to `batch`), or a function key -> such a tuple, giving a
            fresh batch of any size (then `batch` is not read). Make such a function once, or as
            an eqx.Module: each new function is compiled anew.
        objective: what is minimised, a function (key, model, *rows) -> a number, or -> (a number,
            a dict of numbers that `Fit.told` keeps). A function is compiled anew each time it is
            made, an eqx.Module is not. A source or an objective that has a parameter named `step`
            is given `loop.Step(count, total)`: a schedule of its own.
        steps: number of gradient steps.
        batch: rows per step.
        rate: learning rate; it falls to zero along a cosine.
        decay, epsilon, betas, groups, schedule: weight decay, Adam's numbers, and factors of each
            tensor on them all; see `optimiser.AdamW`. Traced, as rate and ema are: a new value
            compiles nothing.
        ema: None, or what an average of the weights keeps in a step (such as 0.999), which then
            is the model returned; corrected for its start at zero.
        block: None, or the rows differentiated at a time; see `loop.step`. On a CPU the cores
            share the blocks of images, step by step: on two cores 1.8 times as fast as whole
            batches (32 images of 8 x 8 a block), and the same to rounding on any number of them.

    Returns:
        Fit(model, losses, told). `jax.vmap`-able over keys, models and sources; see `fit_many`.
        For runs that outlive a session, or use many devices, see `checkpointing.train`.

    Raises:
        ValueError: for steps or batch below one, a number out of its range, arrays of different
            lengths, NaN in the source.

    Source: Loshchilov and Hutter (2019), arXiv 1711.05101.
    """
    steps, source = positive_int("steps", steps), check_source(source)
    run = Run(key, source, objective, positive_int("batch", batch), block)
    optimizer = AdamW(model, rate=rate, decay=decay, epsilon=epsilon, betas=betas, groups=groups,
                      schedule=schedule)
    ema = None if ema is None else jnp.asarray(single("ema", ema, None), jnp.float32)
    if shares_blocks(run, model):
        return _fit(run, model, optimizer, ema, steps)
    return _compiled_fit(run, model, optimizer, ema, steps)


def fit_many(keys, models, source, *, objective, steps: int, batch: int, rate, decay=0.0,
             epsilon=1e-8, betas=(0.9, 0.999), groups=None, schedule=cosine, ema=None) -> Fit:
    """Train k models side by side: `fit` over a leading axis, in one vectorised loop.

    Args:
        keys: k PRNG keys.
        models: k models stacked leaf by leaf, as `stack([Velocity(8, key=k) for k in keys])`.
        source: arrays of shape (k, n, ...), or a function key -> a batch for all models alike.
        objective, steps, batch, schedule: as in `fit`, the same for all.
        rate, decay, epsilon, betas, ema: as in `fit`; each one number, or k of them, one a model.
        groups: as in `fit`; each factor is one number, or k of them. The tensors that a function
            is shown have the shape of those of one model.

    Returns:
        Fit with a leading axis k on every array; `unstack(result.model)` gives the k models.

    Raises:
        ValueError: as `fit`, or when keys, models and source disagree on k.

    On two CPU cores ten MLPs (d = 8, 3 x 128, batch 256) cost 0.40 ms a model and step this
    way, 0.45 under lax.map and 0.48 one by one. U-Nets gain nothing: train them one by one
    with `fit`, which compiles once for all models of one architecture.
    """
    k = len(keys)
    sizes = {len(leaf) if leaf.ndim else 0
             for leaf in jax.tree.leaves(eqx.filter(models, eqx.is_array))}
    if not callable(source):
        source = tuple(jnp.asarray(x) for x in source)
        sizes |= {len(x) if x.ndim else 0 for x in source}
    if sizes != {k} or k == 0:
        raise ValueError(f"fit_many wants {k} of everything, one per key; models and source have "
                         f"leading axes {sorted(sizes)}. Stack them: stack([model, ...]).")
    source = check_source(source, axis=1)
    optimizer = AdamW(models, rate=rate, decay=decay, epsilon=epsilon, betas=betas, groups=groups,
                      schedule=schedule, models=k)
    if ema is not None:
        ema = jnp.broadcast_to(jnp.asarray(single("ema", ema, k), jnp.float32), (k,))
    return _fit_many(keys, models, source, optimizer, ema, objective,
                     positive_int("batch", batch), positive_int("steps", steps))


def _fit(run, model, optimizer, ema, steps):
    # Behind the barrier steps is no constant: rounding is that of a run in pieces.
    total = jax.lax.optimization_barrier(jnp.asarray(steps, jnp.int32))
    state, history = advance(run, init(model, optimizer, steps=total, ema=ema), steps)
    return Fit(finished(state), history.pop("loss"), history)


_compiled_fit = eqx.filter_jit(_fit)


@eqx.filter_jit
def _fit_many(keys, models, source, optimizer, ema, objective, batch, steps):
    def one(key, model, source, optimizer, ema):
        return _fit(Run(key, source, objective, batch), model, optimizer, ema, steps)

    each = eqx.if_array(0)
    return eqx.filter_vmap(one, in_axes=(0, each, None if callable(source) else each, each, each)
                           )(keys, models, source, optimizer, ema)


def stack(models):
    """k models of one architecture as one model with a leading axis k on every array."""
    models = list(models)
    if not models:
        raise ValueError("stack wants at least one model; got none.")
    return _stack(models)


@eqx.filter_jit
def _stack(models):
    arrays, static = zip(*(eqx.partition(m, eqx.is_array) for m in models), strict=True)
    return eqx.combine(jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays), static[0])


@eqx.filter_jit
def unstack(models) -> list:
    """Undo `stack`: the k models of a leading axis k."""
    arrays, static = eqx.partition(models, eqx.is_array)
    k = len(jax.tree.leaves(arrays)[0])
    return [eqx.combine(jax.tree.map(lambda a, i=i: a[i], arrays), static) for i in range(k)]


def check_source(source, *, axis: int = 0):
    """A source as a function, or as arrays with one length along `axis`, finite.

    Raises:
        ValueError: for no array, arrays of different lengths or of none, NaN.
    """
    if callable(source):
        return source
    arrays = tuple(jnp.asarray(x) for x in source)
    lengths = [x.shape[axis] if x.ndim > axis else 0 for x in arrays]
    if not arrays or len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(f"source is a function of a key, or arrays that belong together row by "
                         f"row, n of at least 1 each; got lengths {lengths}. Index one by the "
                         "partners of the other first: x1[j].")
    for k, x in enumerate(arrays):
        if jnp.issubdtype(x.dtype, jnp.inexact) and not all_finite(x):
            raise ValueError(f"array {k} of source holds NaN or infinite values; clean it before "
                             "fit.")
    return arrays
