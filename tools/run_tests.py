"""The tests, stage by stage, with times. Called by `make test`, `make test-all` and CI.

    python tools/run_tests.py                 # every stage of `make test`
    python tools/run_tests.py --ci            # and the deep tests that recent commits touch
    python tools/run_tests.py --all           # and all deep tests, and the chapters at page
    python tools/run_tests.py --only nbval    # one stage (repeatable)
    python tools/run_tests.py --list

A failing stage does not stop the next ones; the exit code is non-zero if any failed. The last
lines say what was left out.
"""

import argparse
import os
import re
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
SMOKE = "_build/smoke"  # the chapters as nbval executed them, and the book made from these
# nbval reads kernels from this interpreter, so a kernel of another environment is never used.
NBVAL = [*PYTEST, "-p", "otlab.lab.execution.nbval_plugin", "--keep-executed", f"{SMOKE}/chapters",
         "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300",
         "-n", "2", "--dist", "loadfile"]
DEEP = [*PYTEST, "-m", "deep", "-n", "2", "--dist", "loadfile"]
DEEP_SECONDS = 2_400  # in CI no deep test begins later than this
MARKED = re.compile(r"^@pytest\.mark\.deep$|^pytestmark.*\.deep\b", re.M)


@dataclass
class Stage:
    name: str
    what: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    when: str = "test"  # test: always · all: in --all only · named: when asked for by name


def notebooks() -> list[str]:
    """Every chapter's own source."""
    return [str(p.relative_to(ROOT)) for p in sorted((ROOT / "notebooks").rglob("*.ipynb"))
            if ".ipynb_checkpoints" not in p.parts]


def stages() -> list[Stage]:
    """All stages, in the order in which they run."""
    # Tests run each program once or twice: XLA compiles fast rather than well.
    # Two workers share the cores: threads that OpenMP (torch) and BLAS keep spinning for more
    # cores than a worker has take four times the time of the work itself.
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "OMP_NUM_THREADS": threads,
             "OPENBLAS_NUM_THREADS": threads}
    smoke = {"OTLAB_BUDGET": "smoke", "OTLAB_EXPLORE": "static", "OTLAB_ANSWERS": "1",
             **quick}
    build = [sys.executable, "jupyter_book/build.py"]
    browser = [*PYTEST, "tests/book", "-n", "2", "--dist", "worksteal"]
    apart = ["book", "benchmarks", "deep"]
    deep = [str(path.relative_to(ROOT)) for path in deep_tests()]
    return [
        Stage("lint", "ruff: style and errors",
              [sys.executable, "-m", "ruff", "check", "otlab", "tests", "tools", "jupyter_book",
               "notebooks"]),
        Stage("format", "ruff: cells of the chapters that follow the pattern",
              [sys.executable, "-m", "ruff", "format", "--check", "notebooks"]),
        Stage("unit", "unit, property, layout and runner tests",
              [*PYTEST, "tests", *(f"--ignore=tests/{folder}" for folder in apart),
               "-m", "not deep", "-n", "2", "--dist", "loadfile"], quick),
        Stage("nbval", "every cell of every notebook, at the smoke budget",
              [*NBVAL, *notebooks()], smoke),
        Stage("book", "the book of these very runs, warnings are errors",
              [*build, "--from-executed", f"{SMOKE}/chapters", "--out", f"{SMOKE}/html"]),
        Stage("browser", "the book in headless Chromium", browser,
              {"OTLAB_BUILT_BOOK": f"{SMOKE}/html"}),
        Stage("deep", "kills, eight devices, two processes, retraining, nbval itself, JupyterLab",
              [*DEEP, *deep], quick, "all"),
        Stage("page", "the chapters at the page budget, and the book that is published",
              build, when="all"),
        Stage("published", "that book in headless Chromium", browser,
              {"OTLAB_BUILT_BOOK": "_build/html"}, "all"),
        Stage("bench", "ours beside its peers",
              [*PYTEST, "tests/benchmarks", "-s"], when="named"),
    ]


def deep_tests() -> list[Path]:
    """The files with tests of the stage deep: those in tests/deep, and those that mark some."""
    return sorted(path for path in (ROOT / "tests").rglob("test_*.py")
                  if path.parent.name == "deep" or MARKED.search(path.read_text("utf-8")))


def touched(root: Path, days: int = 2) -> set[Path] | None:
    """Files that commits of the last days, or work that is not committed, touch.

    None where git cannot tell: no git, no repository, or a clone without its history.
    """
    def git(*arguments):
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True,
                              check=True)
        return done.stdout.split("\0")

    try:
        if git("rev-parse", "--is-shallow-repository")[0].strip() != "false":
            return None
        names = [*git("log", f"--since={days}.days", "--format=", "--name-only", "-z"),
                 *git("diff", "--name-only", "-z", "HEAD"),
                 *git("ls-files", "--others", "--exclude-standard", "-z")]
    except (OSError, subprocess.CalledProcessError):
        return None
    return {root / name.strip() for name in names if name.strip()}


def touched_deep_tests(root: Path, files: list[Path]) -> list[Path]:
    """Those of these test files that recent commits touch, themselves or through what they reach.

    A change of the locked versions or of the tests' own set-up touches all of them.
    """
    changed = touched(root)
    if changed is None or changed & {root / name for name in (
            "requirements.lock", "pyproject.toml", "tests/conftest.py", "tests/deep/conftest.py",
            "tools/run_tests.py")}:
        return files
    return [path for path in files if changed & reach(root, path)]


def reach(root: Path, test: Path) -> set[Path]:
    """What a test file depends on: modules, other test files, saved results it names, itself."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from otlab.lab.execution.fingerprint import reached

    beside = {p.stem: p for p in (root / "tests").rglob("*.py")}
    found, waiting = set(), {test}
    while waiting:
        path = waiting.pop()
        source = path.read_text("utf-8")
        found |= {path} | reached(root, [source])
        names = re.findall(r"^\s*(?:from|import) (\w+(?:\.\w+)*)", source, re.M)
        parts = {part for name in names for part in name.split(".")}
        waiting |= {beside[part] for part in parts & set(beside)} - found
        results = root / "notebooks" / "results"
        for folder in results.iterdir() if results.is_dir() else ():
            if re.search(rf"[\"'/]{folder.name}[\"'/.]", source):
                found |= set(folder.rglob("*"))
        found |= {p for p in (root / "notebooks").rglob("*.ipynb") if p.name in source}
    return found


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


def chosen_stages(options) -> list[Stage]:
    """The stages of this call, the deep one cut to what CI wants of it."""
    known = {stage.name: stage for stage in stages()}
    if options.only:
        return [stage for stage in known.values() if stage.name in options.only]
    if options.all:
        return [stage for stage in known.values() if stage.when != "named"]
    chosen = [stage for stage in known.values() if stage.when == "test"]
    if options.ci:
        files = [str(p.relative_to(ROOT)) for p in touched_deep_tests(ROOT, deep_tests())]
        print(f"deep tests that the last two days touch: {', '.join(files) or 'none'}")
        if files:
            known["deep"].command = [*DEEP, f"--deep-seconds={DEEP_SECONDS}", *files]
            chosen.append(known["deep"])
    return chosen


def left_out(chosen: list[Stage]) -> list[str]:
    """What `--all` would run and this call does not, a line each."""
    ran, lines = {stage.name: stage for stage in chosen}, []
    for stage in stages():
        if stage.name == "deep":
            command = ran["deep"].command if "deep" in ran else []
            rest = [p.stem for p in deep_tests() if str(p.relative_to(ROOT)) not in command]
            lines += [f"deep: {stage.what}: {', '.join(rest)}"] if rest else []
        elif stage.when == "all" and stage.name not in ran:
            lines.append(f"{stage.name}: {stage.what}")
    return lines


def main(arguments: list[str]) -> int:
    known = {stage.name: stage for stage in stages()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=known, help="run this stage alone")
    parser.add_argument("--all", action="store_true", help="run the deep and page stages too")
    parser.add_argument("--ci", action="store_true", help="run the deep tests touched recently too")
    parser.add_argument("--list", action="store_true", help="name the stages")
    options = parser.parse_args(arguments)
    if options.list:
        notes = {"test": "", "all": " (only in --all)", "named": " (only when named)"}
        for stage in known.values():
            print(f"{stage.name:9} {stage.what}{notes[stage.when]}")
        return 0
    chosen = chosen_stages(options)
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
    if missing := [] if options.only else left_out(chosen):
        print("Left out, and run by `make test-all`:")
        print(*(f"  {line}" for line in missing), sep="\n")
    print(f"{'FAILED: ' + ', '.join(failed) if failed else 'All passed'} in {total:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
