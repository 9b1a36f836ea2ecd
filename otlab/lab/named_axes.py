"""Arrays whose axes have names and whose places have labels: a number is read by what it is."""

import difflib
from collections.abc import Mapping
from numbers import Number

import numpy as np

Axes = dict[str, dict[str, list]]  # array → axis → labels, in the order of the array's axes


def resolve(declared: Mapping, values: Mapping[str, np.ndarray]) -> Axes:
    """The axes of each array as plain lists, checked against its shape.

    Args:
        declared: array → {axis: labels}, in the order of the array's axes. Labels are numbers or
            texts, one for each place; None for an axis that is read by place (points,
            coordinates), or the name of another array of the result that holds the labels.
        values: name → array.

    Raises:
        ValueError: for an unknown array, or axes that do not fit its shape.
    """
    return {name: _axes_of(name, axes, values) for name, axes in declared.items()}


def _axes_of(name: str, axes: Mapping, values: Mapping) -> dict[str, list]:
    if name not in values:
        raise ValueError(f"axes: no array is called {name!r}; there are {', '.join(values)}.")
    shape, found = np.shape(values[name]), {}
    if not isinstance(axes, Mapping):
        raise ValueError(f"axes[{name!r}] must be a dictionary {{axis: labels}}, in the order of "
                         f"the array's axes; got {axes!r}.")
    if len(axes) != len(shape):
        raise ValueError(f"axes: {name!r} has shape {shape}, so it needs {len(shape)} axes; got "
                         f"{len(axes)}: {', '.join(axes)}. Add the missing ones, with None for an "
                         "axis without labels.")
    for (axis, labels), size in zip(axes.items(), shape, strict=True):
        if not str(axis).isidentifier():
            raise ValueError(f"axes: {axis!r} must be a Python name, since .at({axis}=…) reads it.")
        if isinstance(labels, str):
            if labels not in values:
                raise ValueError(f"axes: {name!r} takes the labels of {axis} from an array "
                                 f"{labels!r}; there are {', '.join(values)}.")
            labels = np.asarray(values[labels]).tolist()
        found[axis] = list(range(size)) if labels is None else [_plain(v) for v in labels]
        if len(found[axis]) != size:
            raise ValueError(f"axes: {axis} of {name!r} has {len(found[axis])} labels, and the "
                             f"array of shape {shape} has {size} places there.")
        if len(set(map(str, found[axis]))) != size:
            raise ValueError(f"axes: {axis} of {name!r} has the same label twice: "
                             f"{_listed(found[axis])}.")
    return found


def at(name: str, array: np.ndarray, axes: Mapping[str, list], wanted: Mapping):
    """The part of `array` at the wanted labels: a number, text, or array of the other axes.

    A single label takes its axis away; a list, tuple, range or array of labels keeps it, in the
    order given.

    Raises:
        KeyError: for an axis or a label that the array does not have; it names those it has.
    """
    for axis in wanted:
        if axis not in axes:
            raise KeyError(f"{name!r} has no axis {axis!r}; it has {', '.join(axes)}."
                           + _near(axis, list(axes)))
    part, place = array, 0
    for axis, labels in axes.items():
        if axis not in wanted:
            place += 1
        elif np.ndim(wanted[axis]) == 1:
            part = np.take(part, [_index(name, axis, labels, v) for v in wanted[axis]], axis=place)
            place += 1
        else:
            part = np.take(part, _index(name, axis, labels, wanted[axis]), axis=place)
    return part.item() if np.ndim(part) == 0 else part


def _index(name: str, axis: str, labels: list, wanted) -> int:
    wanted = _plain(wanted)
    for k, label in enumerate(labels):
        if isinstance(label, Number) and isinstance(wanted, Number):
            if label == wanted or np.isclose(label, wanted, rtol=1e-9, atol=0):
                return k
        elif label == wanted and type(label) is type(wanted):
            return k
    raise KeyError(f"{axis} of {name!r} has no {wanted!r}; it has {_listed(labels)}."
                   + _near(wanted, labels))


def _plain(value):
    """A label as JSON keeps it."""
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"a label is a number or a text; got {value!r}.")
    return value


def _listed(labels: list) -> str:
    shown = [repr(v) if isinstance(v, str) else f"{v:g}" for v in labels]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:5], "…", *shown[-2:]])


def _near(word, known: list) -> str:
    close = difflib.get_close_matches(str(word), list(map(str, known)), 1, 0.5)
    return f" Did you mean {close[0]!r}?" if close and isinstance(word, str) else ""
