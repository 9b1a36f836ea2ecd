"""Save and load weights as safetensors: arrays by name, with metadata beside them."""

import json
from collections.abc import Mapping
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from otlab.core.files import aside

KEY = "otlab"  # the one metadata entry of the file: JSON of the caller's dictionary


def save_arrays(path, arrays: Mapping[str, np.ndarray], meta: Mapping | None = None) -> Path:
    """Write arrays by name, and `meta`, to a safetensors file; returns its path.

    Args:
        path: file to write, under any name; folders are made, an existing file is replaced only
            once the new one is whole.
        meta: what JSON can hold: seeds, settings, scores, versions, licence. NumPy's numbers are
            written as Python's, tuples as lists.

    Raises:
        ValueError: for arrays that are no plain numbers, or a `meta` that JSON cannot hold.
    """
    try:
        text = json.dumps(meta or {}, sort_keys=True, default=_python_number)
    except TypeError as error:
        raise ValueError(f"meta must be what JSON can hold ({error}); turn arrays into lists and "
                         "keys into text.") from error
    # In C order: safetensors would write another order's numbers in the wrong places.
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with aside(path) as part:
        try:
            save_file(plain, part, metadata={KEY: text})
        except SafetensorError as error:
            raise ValueError(f"{path} cannot hold these arrays ({error}).") from error
    return Path(path)


def load_arrays(path, *, what: str = "weights", former_key: str | None = None):
    """Read a file of `save_arrays`; returns (arrays by name, meta).

    Args:
        what: the file holds, for the sentences.
        former_key: metadata entry of files from before there was one for all.

    A safetensors file of another maker has {} for meta.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is empty, cut, or no safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There are no {what} at {path}; make them and save them first.")
    try:
        with safe_open(path, framework="numpy") as file:
            entries = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        meta = json.loads(entries.get(KEY) or entries.get(former_key) or "{}")
        if not isinstance(meta, dict):
            raise ValueError(f"its metadata are a {type(meta).__name__}")
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is no whole safetensors file of {what} ({error}); save it "
                         "again.") from error
    return arrays, meta


def save_model(path, model, meta: Mapping | None = None) -> Path:
    """Write the arrays of a model, and `meta`, to a safetensors file; returns its path.

    Args:
        path, meta: as in `save_arrays`.
        model: any pytree; its arrays are saved under their paths (".mlp.layers[0].weight"),
            everything else (sizes, activations) is the code's business.

    Raises:
        ValueError: for a model without arrays, arrays that are no plain numbers, or a
            `meta` that JSON cannot hold.
    """
    arrays = {}
    for name, leaf in _leaves(model):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            raise ValueError(f"save_model writes numbers; {name} is a PRNG key. Save its seed "
                             "in meta instead.")
        arrays[name] = np.asarray(leaf)
    if not arrays:
        raise ValueError("save_model found no array in the model; there is nothing to save.")
    return save_arrays(path, arrays, meta)


def load_model(path, like):
    """Read a file of `save_model` into the structure of `like`; returns (model, meta).

    Args:
        path: file to read.
        like: a model of the same architecture, such as `Velocity(8, key=jax.random.key(0))`;
            its arrays are replaced, in their own dtype. `eqx.filter_eval_shape(make)` will do
            and allocates nothing.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is no safetensors file, or its arrays are not those of
            `like` (the first difference is named).
    """
    arrays, meta = load_arrays(path)
    wanted = dict(_leaves(like))
    if wanted.keys() != arrays.keys():
        odd = sorted(wanted.keys() ^ arrays.keys())[0]
        owner = "the file" if odd in arrays else "`like`"
        raise ValueError(f"{path} holds another architecture: only {owner} has {odd}. Build `like` "
                         f"as the model was built; its settings may be in meta: {meta}.")
    for name, leaf in wanted.items():
        if arrays[name].shape != leaf.shape:
            raise ValueError(f"{path} holds {name} of shape {arrays[name].shape} where `like` has "
                             f"{leaf.shape}; build `like` as the model was built. Meta: {meta}.")
    loaded = iter([jnp.asarray(arrays[name], leaf.dtype) for name, leaf in wanted.items()])
    model = jax.tree.map(lambda leaf: next(loaded) if _is_array(leaf) else leaf, like)
    return model, meta


def _python_number(value):
    """A number of NumPy as one of Python, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is none of its values")


def _is_array(leaf):
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _leaves(model):
    """(path, array) of every array, in the order of jax.tree.leaves."""
    for place, leaf in jax.tree_util.tree_leaves_with_path(model):
        if _is_array(leaf):
            yield jax.tree_util.keystr(place), leaf
