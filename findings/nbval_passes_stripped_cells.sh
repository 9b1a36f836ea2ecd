#!/usr/bin/env bash
# Claim: a cell marked NBVAL_CHECK_OUTPUT passes nbval 0.11.0, even under the strict `--nbval`,
#   whatever it prints, once nbstripout 0.9.1 has stripped it as its Git filter does.
# Expected: the marker asks for a comparison; a cell that prints a line where the file stores none
#   should fail, as it does when the cell still has its execution count.
# Why: without a count nbval takes the cell for one that was never run, and compares nothing.
# Instead: strip with `nbstripout --keep-count`, tag checked cells `keep_output`, and hold by a
#   test that every marked cell of the repository has a count and an output.
# Seen on 2026-11-30:
#   nbval 0.11.0 nbstripout 0.9.1
#   prints 'loss 4', stores 'loss 5': --nbval fails, --nbval-lax fails
#   prints 'loss 4', stripped with --keep-count: --nbval fails, --nbval-lax fails
#   prints 'loss 4', stripped: --nbval passes, --nbval-lax passes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nbval==0.11.0 nbstripout==0.9.1 pytest==9.2.0 ipykernel==7.4.0 \
    nbformat==5.11.1
cd "$folder"
PATH="$folder/venv/bin:$PATH" "$folder/venv/bin/python" -I - <<'PYTHON'
import shutil
import subprocess
import sys
from importlib.metadata import version

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

cell = new_code_cell("# NBVAL_CHECK_OUTPUT\nprint('loss', 2 + 2)", execution_count=1,
                     outputs=[new_output("stream", name="stdout", text="loss 5\n")])
notebook = new_notebook(cells=[cell])
notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python", "language": "python"}
nbformat.write(notebook, "stored.ipynb")
for name, options in (("stripped", []), ("counted", ["--keep-count"])):
    shutil.copy("stored.ipynb", f"{name}.ipynb")
    subprocess.run(["nbstripout", *options, f"{name}.ipynb"], check=True)


def verdict(name, flag):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.",
               "--nbval-current-env", flag, f"{name}.ipynb"]
    return {0: "passes", 1: "fails"}[subprocess.run(command, capture_output=True).returncode]


print("nbval", version("nbval"), "nbstripout", version("nbstripout"))
words = {"stored": "stores 'loss 5'", "counted": "stripped with --keep-count",
         "stripped": "stripped"}
for name, expected in (("stored", "fails"), ("counted", "fails"), ("stripped", "passes")):
    seen = [verdict(name, flag) for flag in ("--nbval", "--nbval-lax")]
    print(f"prints 'loss 4', {words[name]}: --nbval {seen[0]}, --nbval-lax {seen[1]}")
    if seen != [expected] * 2:
        sys.exit(f"changed: this was '{expected}' twice")
PYTHON
