"""All that CI runs, stage by stage, with times. Called by `make test`.

    python tools/run_tests.py                 # every stage
    python tools/run_tests.py --only nbval    # one stage (repeatable)
    python tools/run_tests.py --list

A failing stage does not stop the next ones; the exit code is non-zero if any failed.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={CACHE / 'pytest'}",
          "--durations=12", "--durations-min=4"]
# nbval reads kernels from this interpreter, so a kernel of another environment is never used.
NBVAL = [*PYTEST, "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300",
         "-n", "2", "--dist", "loadfile"]


@dataclass
class Stage:
    name: str
    what: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    default: bool = True


def notebooks() -> list[str]:
    """Every chapter's own source."""
    return [str(p.relative_to(ROOT)) for p in sorted((ROOT / "notebooks").rglob("*.ipynb"))
            if ".ipynb_checkpoints" not in p.parts]


def stages() -> list[Stage]:
    # Tests run each program once or twice: XLA compiles fast rather than well.
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    smoke = {"OTLAB_BUDGET": "smoke", "OTLAB_EXPLORE": "smoke", "OTLAB_ANSWERS": "1", **quick}
    return [
        Stage("lint", "ruff: style and errors",
              [sys.executable, "-m", "ruff", "check", "otlab", "tests", "tools", "jupyter_book",
               "notebooks"]),
        Stage("format", "ruff: cells of the chapters that follow the pattern",
              [sys.executable, "-m", "ruff", "format", "--check", "notebooks"]),
        Stage("unit", "unit, property, layout and runner tests",
              [*PYTEST, "tests", "--ignore=tests/book", "--ignore=tests/benchmarks",
               "-n", "2", "--dist", "loadfile"], quick),
        Stage("nbval", "every cell of every notebook, at the smoke budget",
              [*NBVAL, *notebooks()], smoke),
        Stage("book", "the book, chapters at the page budget, warnings are errors",
              [sys.executable, "jupyter_book/build.py"]),
        Stage("browser", "the book and JupyterLab in headless Chromium",
              [*PYTEST, "tests/book", "-p", "no:xdist"]),
        Stage("bench", "ours beside its peers",
              [*PYTEST, "tests/benchmarks", "-s"], default=False),
    ]


def environment(extra: dict[str, str]) -> dict[str, str]:
    """The tools' caches stay in .cache/, also when this file is called without make."""
    inside = {
        "JUPYTER_CONFIG_DIR": "jupyter/config", "JUPYTER_DATA_DIR": "jupyter/data",
        "JUPYTER_RUNTIME_DIR": "jupyter/runtime", "IPYTHONDIR": "ipython",
        "MPLCONFIGDIR": "matplotlib", "DASK_CONFIG": "dask", "DASK_TEMPORARY_DIRECTORY": "dask",
        "XDG_CACHE_HOME": "xdg/cache", "XDG_CONFIG_HOME": "xdg/config",
        "RUFF_CACHE_DIR": "ruff", "HYPOTHESIS_STORAGE_DIRECTORY": "hypothesis",
        "JAX_COMPILATION_CACHE_DIR": "jax", "NPM_CONFIG_CACHE": "npm",
    }
    here = {name: str(CACHE / folder) for name, folder in inside.items()}
    here["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    here["PYTHONUNBUFFERED"] = "1"
    here["OTLAB_COMPLETE"] = "1"  # `make setup` installed everything: tests skip no model
    return os.environ | here | extra


def run(stage: Stage) -> tuple[bool, float]:
    """Run one stage with its output streamed through; True when it passed."""
    start = time.monotonic()
    process = subprocess.Popen(stage.command, cwd=ROOT, env=environment(stage.environment),
                               stdin=subprocess.DEVNULL)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        raise
    return code == 0, time.monotonic() - start


def main(arguments: list[str]) -> int:
    known = {stage.name: stage for stage in stages()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=known, help="run this stage alone")
    parser.add_argument("--list", action="store_true", help="name the stages")
    options = parser.parse_args(arguments)
    if options.list:
        for stage in known.values():
            print(f"{stage.name:8} {stage.what}{'' if stage.default else ' (only when named)'}")
        return 0
    chosen = [s for s in known.values() if (s.name in options.only if options.only else s.default)]
    results = []
    for number, stage in enumerate(chosen, 1):
        print(f"\n=== {number}/{len(chosen)} {stage.name}: {stage.what}", flush=True)
        try:
            passed, seconds = run(stage)
        except KeyboardInterrupt:
            print(f"\nstopped in stage {stage.name}", file=sys.stderr)
            return 130
        results.append((stage.name, passed, seconds))
        print(f"=== {stage.name} {'passed' if passed else 'FAILED'} in {seconds:.0f} s", flush=True)
    print("\nstage     result     seconds")
    for name, passed, seconds in results:
        print(f"{name:9} {'passed' if passed else 'FAILED':9} {seconds:8.0f}")
    failed = [name for name, passed, _ in results if not passed]
    total = sum(seconds for *_, seconds in results)
    print(f"{'FAILED: ' + ', '.join(failed) if failed else 'All passed'} in {total:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
