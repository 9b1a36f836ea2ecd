#!/usr/bin/env bash
# Claim: orbax-checkpoint 0.12.8 saves the leaves {"a.b": x} and {"a": {"b": y}} of one tree in
#   one place: both come back as the same array, x or y as the threads happen to run, without an
#   error.
# Expected: a checkpoint of a tree of arrays gives every leaf back, or refuses to save; a flat
#   state dictionary ("layer.weight", as torch names it) beside a nested one is no unusual tree.
# Why: the path of a leaf, joined by dots, is its name in the store; two leaves with one name and
#   one shape overwrite each other. (With different shapes the save fails, which is how one may
#   notice.)
# Instead: save dictionaries whose keys hold no dot, or number the leaves (`jax.tree.leaves`) and
#   keep the structure in code; compare what comes back once, leaf by leaf.
# Seen on 2026-11-30:
#   orbax-checkpoint 0.12.8 jax 0.10.2
#   saved    layer.weight [1, 1, 1], layer/weight [0, 0, 0]
#   restored one and the same array twice: True
#   restored one and the same array twice: True
#   restored one and the same array twice: True
#   without a dot in the key, all comes back: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q orbax-checkpoint==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -I - "$folder" <<'PYTHON'
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

logging.disable(logging.WARNING)
folder = Path(sys.argv[1]).resolve()
weights, average = jnp.ones(3), jnp.zeros(3)


def there_and_back(name, tree):
    """The tree as it comes back, restored into its own shapes."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / name, tree)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder / name, jax.tree.map(jnp.empty_like, tree))


print("orbax-checkpoint", version("orbax-checkpoint"), "jax", version("jax"))
for run in range(3):
    back = there_and_back(f"dots_{run}", {"layer.weight": weights, "layer": {"weight": average}})
    flat, nested = back["layer.weight"].tolist(), back["layer"]["weight"].tolist()
    if run == 0:
        print("saved    layer.weight [1, 1, 1], layer/weight [0, 0, 0]")
    print("restored one and the same array twice:", flat == nested)
    if flat != nested:
        sys.exit("changed: a key with a dot no longer meets a nested one")
back = there_and_back("no_dots", {"layer_weight": weights, "layer": {"weight": average}})
whole = bool((back["layer_weight"] == 1).all() and (back["layer"]["weight"] == 0).all())
print("without a dot in the key, all comes back:", whole)
if not whole:
    sys.exit("changed: keys without dots no longer come back either")
PYTHON
