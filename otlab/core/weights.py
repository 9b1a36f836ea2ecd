"""Save and load equinox models as safetensors: arrays by path, with metadata beside them."""

import json
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

KEY = "otlab"  # the one metadata entry of the file: JSON of the caller's dictionary


def save_model(path, model, meta: dict | None = None) -> Path:
    """Write the arrays of a model, and `meta`, to a safetensors file; returns its path.

    Args:
        path: file to write, such as "weights/digits.safetensors"; folders are made, an
            existing file is replaced only once the new one is whole.
        model: any pytree; its arrays are saved under their paths (".mlp.layers[0].weight"),
            everything else (sizes, activations) is the code's business.
        meta: what JSON can hold: seeds, settings, scores, versions, licence.

    Raises:
        ValueError: for a model without arrays, arrays that are no plain numbers, or a
            `meta` that JSON cannot hold.
    """
    arrays = {}
    for name, leaf in _leaves(model):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            raise ValueError(f"save_model writes numbers; {name} is a PRNG key. Save its seed "
                             "in meta instead.")
        arrays[name] = np.asarray(leaf, order="C")
    if not arrays:
        raise ValueError("save_model found no array in the model; there is nothing to save.")
    try:
        text = json.dumps(meta or {}, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"meta must be what JSON can hold ({error}); turn arrays into lists and "
                         "numbers into int or float.") from error
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(arrays, part, metadata={KEY: text})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}; train and save_model them first.")
    try:
        with safe_open(path, framework="numpy") as file:
            meta = json.loads((file.metadata() or {}).get(KEY, "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file ({error}); save it "
                         "again.") from error
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


def _is_array(leaf):
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _leaves(model):
    """(path, array) of every array, in the order of jax.tree.leaves."""
    for place, leaf in jax.tree_util.tree_leaves_with_path(model):
        if _is_array(leaf):
            yield jax.tree_util.keystr(place), leaf
