"""`make bench`: CPU seconds to the first answer of `sinkhorn`, beside its peers.

A fresh process for each cell and library, no compilation cache; the import is told apart. Each
cell is run OTLAB_BENCH_REPEATS times (default 3), libraries in turn, and the least counts, since
a busy machine only adds. Nothing asserts a time. Each stops in its own way: the error of the
marginals, recomputed in float64, stands beside.

Report: _build/reports/bench_first.json, see report.py.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import first_call
import pytest
import report

REPEATS = int(os.environ.get("OTLAB_BENCH_REPEATS", 3))
CELLS = [(n, d) for n in (64, 512, 2048) for d in (2, 64)]
MODULES = {"otlab": "otlab", "OTT-JAX": "ott", "POT": "ot", "GeomLoss": "geomloss"}
QUICKER = ("JAX_COMPILATION_CACHE_DIR", "JAX_DISABLE_MOST_OPTIMIZATIONS")


def run(library, n, d):
    """One cell in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k not in QUICKER}
    path = str(Path.cwd()), environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = os.pathsep.join(path)
    out = subprocess.run([sys.executable, first_call.__file__, library, str(n), str(d)],
                         check=True, text=True, capture_output=True, env=environment).stdout
    return json.loads(out.splitlines()[-1])


def least(rows):
    """The least of each number over the runs."""
    return {k: least([row[k] for row in rows]) if isinstance(v, dict) else min(
        row[k] for row in rows) for k, v in rows[0].items()}


@pytest.mark.parametrize("n, d", CELLS)
def test_first_answer(n, d):
    present = [name for name, module in MODULES.items() if find_spec(module)]
    rows = {name: [] for name in present}
    for _ in range(REPEATS):
        for name in present:
            rows[name].append(run(name, n, d))
    found = {name: least(seen) for name, seen in rows.items()}
    print(f"\nn = {n}, d = {d}, CPU seconds")
    for name, row in found.items():
        print(f"  {name:10s} {row}")
    report.add("first", f"n={n} d={d}", {"n": n, "d": d, "processor seconds": found})
    assert found["otlab"]["error"] <= 2e-3
