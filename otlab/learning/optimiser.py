"""AdamW with groups of tensors and a schedule; all its numbers are traced."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from otlab.core.inputs import known, number


class Group(NamedTuple):
    """Factors that some tensors of a model put on the numbers of the run.

    rate: on the learning rate.   decay: on the weight decay.   epsilon: on Adam's epsilon.
    forget: on 1 - beta_1 and on 1 - beta_2, what the two averages forget in a step.

    Each is a number, or k of them for k models in `fit_many`. Group(decay=0) spares a tensor the
    weight decay; a run with rate=1 reads the factors as learning rates.
    """

    rate: float | Array = 1.0
    decay: float | Array = 1.0
    epsilon: float | Array = 1.0
    forget: tuple[float | Array, float | Array] = (1.0, 1.0)


def cosine(fraction):
    """(1 + cos(pi fraction)) / 2: from 1 at the first step to 0 at the end of the run."""
    return (1 + jnp.cos(jnp.pi * fraction)) / 2


class Moments(NamedTuple):
    """Averages of the gradient and of its square, tensor by tensor."""

    mean: object
    square: object


class AdamW(eqx.Module):
    r"""theta <- theta - eta_t (m / (sqrt(v) + epsilon) + lambda theta), with numbers for groups.

    m and v are the averages of the gradient and of its square, corrected for their start at zero;
    eta_t is the learning rate times the schedule. Weight decay is multiplied by the learning rate,
    as in torch.optim.AdamW and optax.adamw.

    Args:
        model: what is trained; its inexact arrays are the tensors.
        rate: learning rate eta, at a schedule of 1.
        decay: weight decay lambda.
        epsilon: added to the root of v, in units of the gradient.
        betas: (beta_1, beta_2), what m and v keep in a step, in [0, 1).
        groups: None, a function (path, tensor) -> `Group`, or a pytree with a `Group` in the place
            of each tensor. path is written as in ".mlp.layers[0].weight"; of the tensor, read
            shape and dtype. One object for many tensors makes smaller programs.
        schedule: factor on the learning rate, a function of the fraction of the run that is done;
            make it once, each new function is compiled anew.
        models: None, or k for a stack of k models: each number is then one, or k of them.

    All numbers but the groups' memberships are traced: a new value compiles nothing.

    Raises:
        ValueError: for a number out of its range or of another shape, named; for groups that do
            not match the model.

    Source: Loshchilov and Hutter (2019), arXiv 1711.05101; factors per tensor as in Mlodozeniec et
    al. (2026), arXiv 2512.22382, table 1.
    """

    rate: Float[Array, "*models groups"]
    decay: Float[Array, "*models groups"]
    epsilon: Float[Array, "*models groups"]
    forget: Float[Array, "*models groups 2"]
    schedule: Callable = eqx.field(static=True)
    group_of: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, model, *, rate, decay=0.0, epsilon=1e-8, betas=(0.9, 0.999), groups=None,
                 schedule=cosine, models: int | None = None):
        found, self.group_of = grouped(model, groups, stacked=models is not None)
        keeps = [single(f"beta_{k + 1}", beta, models) for k, beta in enumerate(betas)]
        self.rate, self.decay, self.epsilon = (
            _columns(name, single(name, base, models), [getattr(g, name) for g in found], models)
            for name, base in (("rate", rate), ("decay", decay), ("epsilon", epsilon)))
        self.forget = jnp.stack([
            _columns(f"1 - beta_{k + 1}", 1 - keep, [g.forget[k] for g in found], models)
            for k, keep in enumerate(keeps)], axis=-1)
        self.schedule = schedule

    def init(self, params) -> Moments:
        """The averages before the first step: zero."""
        return Moments(*(jax.tree.map(jnp.zeros_like, params) for _ in range(2)))

    def update(self, gradient, moments: Moments, params, *, step):
        """(what is added to each tensor, the averages one step later). step: a `loop.Step`."""
        rate = -self.rate * self.schedule(step.fraction)
        keep = 1 - self.forget
        # An average begun at zero lacks keep ** steps of a whole.
        whole = 1 - keep ** (step.count + 1).astype(keep.dtype)

        def one(group, g, m, v, p):
            eta, decay, epsilon = (x[group].astype(p.dtype)
                                   for x in (rate, self.decay, self.epsilon))
            (new_m, new_v), (keep_m, keep_v), (whole_m, whole_v) = (
                x[group].astype(p.dtype) for x in (self.forget, keep, whole))
            m, v = new_m * g + keep_m * m, new_v * g**2 + keep_v * v
            return eta * ((m / whole_m) / (jnp.sqrt(v / whole_v) + epsilon) + decay * p), m, v

        leaves, structure = jax.tree.flatten(params)
        trees = (structure.flatten_up_to(tree) for tree in (gradient, *moments))
        changes, means, squares = zip(*(one(*each) for each in zip(
            self.group_of, *trees, leaves, strict=True)), strict=True)
        back = structure.unflatten
        return back(changes), Moments(back(means), back(squares))


RANGES = {"rate": ("a positive number", lambda x: x > 0),
          "decay": ("a number of at least 0", lambda x: x >= 0),
          "epsilon": ("a positive number", lambda x: x > 0),
          "beta_1": ("a number in [0, 1)", lambda x: (x >= 0) & (x < 1)),
          "beta_2": ("a number in [0, 1)", lambda x: (x >= 0) & (x < 1)),
          "ema": ("None or a number in [0, 1)", lambda x: (x >= 0) & (x < 1))}


def single(name: str, value, models: int | None):
    """`value` as one number in double precision, or k of them; what is traced as it is.

    Raises:
        ValueError: for a value out of the range of that name, or of another shape than () or,
            for k models, (k,).
    """
    words, right = RANGES.get(name, RANGES["decay"])
    value = number(name, value, lambda x: np.isfinite(x) & right(x), words)
    if np.shape(value) not in ((), (models,)):
        wants = "one number" if models is None else f"one number or {models}, one a model"
        raise ValueError(f"{name} must be {wants}; got shape {np.shape(value)}. `fit_many` trains "
                         "k models, each with numbers of its own.")
    return np.asarray(value, np.float64) if known(value) else value


def _columns(name, base, factors, models) -> Float[Array, "*models groups"]:
    """The number of each group: base times the factor, rounded to single precision at the end."""
    columns = [base * single(f"factor on {name}", x, models) for x in factors]
    library = np if known(*columns) else jnp
    shape = () if models is None else (models,)
    column = library.stack([library.broadcast_to(x, shape) for x in columns], axis=-1)
    if name.startswith("1 - "):
        number(f"{name} times the factor of a group", column, lambda x: x <= 1, "at most 1")
    return jnp.asarray(column, jnp.float32)


def grouped(model, groups, *, stacked: bool = False) -> tuple[list[Group], tuple[int, ...]]:
    """The different groups of a model, and for each tensor the number of its group; see `AdamW`."""
    params = eqx.filter(model, eqx.is_inexact_array)
    places, structure = jax.tree_util.tree_flatten_with_path(params)
    if groups is None:
        return [Group()], (0,) * len(places)
    def is_group(x):
        return isinstance(x, Group)

    if callable(groups) and not any(map(is_group, jax.tree.leaves(groups, is_leaf=is_group))):
        each = [groups(jax.tree_util.keystr(path), _one_of(x) if stacked else x)
                for path, x in places]
    else:
        try:
            each = structure.flatten_up_to(groups)
        except ValueError as error:
            raise ValueError(f"groups has another structure than the model ({error}); give a "
                             "Group in the place of each inexact array, or a function.") from error
    wrong = [g for g in each if not is_group(g)]
    if wrong:
        raise ValueError(f"groups must give a Group for each tensor; got {wrong[0]!r}.")
    # The same object is the same group; equal numbers are not, or new numbers could compile.
    found, labels = [], []
    for group in each:
        if not any(group is other for other in found):
            found.append(group)
        labels.append(next(k for k, other in enumerate(found) if other is group))
    return found, tuple(labels)


def _one_of(x):
    """Shape and dtype of one tensor of a stack."""
    return jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
