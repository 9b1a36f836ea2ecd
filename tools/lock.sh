#!/bin/sh
# Resolve pyproject.toml anew, for the lowest Python we declare. Called by `make lock`.
# torch keeps its version unless told (make lock TORCH=2.14.0), and is resolved without the
# CUDA libraries: its own metadata brings those where the CUDA build is installed.
set -eu
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
[ -n "$UV_FIND_LINKS" ] || unset UV_FIND_LINKS
mkdir -p .cache
torch="${TORCH:-$(sed -n 's/^torch==//p' requirements.lock)}"
echo "torch==$torch" > .cache/constraints.txt
.venv/bin/python -m uv pip compile pyproject.toml --quiet \
    --extra lab --extra train --extra steering --extra hub --extra mnist --extra book --extra test \
    --python-version 3.11 --no-header --no-annotate \
    --no-emit-find-links --no-emit-index-url --no-emit-build-options \
    --constraint .cache/constraints.txt --upgrade --output-file .cache/requirements.lock
sed -e 's/+cpu$//' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton==/d' .cache/requirements.lock > requirements.lock
rm -f .cache/constraints.txt .cache/requirements.lock
.venv/bin/python tools/environment.py
git --no-pager diff --stat -- requirements.lock environment.yml binder/environment.yml || true
