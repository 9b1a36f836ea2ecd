"""What a benchmark leaves behind: one JSON file with the date, machine and versions beside it.

`make bench` writes _build/reports/bench_NAME.json; with OTLAB_BENCH_SAVE=1 also
notebooks/results/benchmarks/NAME.json, from which the book draws its page.
"""

import datetime
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPORTS = Path("_build/reports")
SAVED = Path("notebooks/results/benchmarks")
PACKAGES = ("jax", "ott-jax", "pot", "geomloss", "scipy", "torch", "torchcfm", "optax",
            "equinox")


def machine() -> str:
    """Processor cores and, where the system names it, the processor."""
    model = ""
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((f", {v.split(':')[1].strip()}" for v in lines if v.startswith("model name")),
                     "")
    return f"{os.cpu_count()} CPU cores ({platform.machine()}{model})"


def versions() -> dict[str, str]:
    """Of the packages that a benchmark may use."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read(name: str) -> dict:
    """The rows so far: key → row."""
    path = REPORTS / f"bench_{name}.json"
    return json.loads(path.read_text())["rows"] if path.is_file() else {}


def add(name: str, key: str, row: dict) -> dict:
    """Add or replace one row, and write the report; returns all rows."""
    rows = read(name) | {key: row}
    settings = {k: v for k, v in os.environ.items()
                if k.startswith("OTLAB_BENCH_") and k != "OTLAB_BENCH_SAVE"}
    whole = {"command": " ".join([*(f"{k}={v}" for k, v in settings.items()), "make bench"]),
             "date": datetime.date.today().isoformat(), "machine": machine(),
             "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
             "versions": versions(), "rows": rows}
    folders = [REPORTS / f"bench_{name}.json"]
    if os.environ.get("OTLAB_BENCH_SAVE") == "1":
        folders.append(SAVED / f"{name}.json")
    for path in folders:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole, indent=1, sort_keys=False) + "\n")
    print(end="", flush=True, file=sys.stdout)
    return rows
