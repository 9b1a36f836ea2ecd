"""Build the book: run the chapters that changed, stage the pages, call Sphinx, tidy up.

    python jupyter_book/build.py                   # into _build/html
    python jupyter_book/build.py --out DIR         # elsewhere
    python jupyter_book/build.py --fresh           # run every chapter again
    python jupyter_book/build.py --from-executed DIR --out PAGES   # run none: the tests' own book

The staged folder, _build/book/source, holds the pages, the executed notebooks and the table of
contents side by side. Warnings are errors; so is any request to another host.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "_ext"), str(ROOT)]

import chapters  # noqa: E402
import finish  # noqa: E402
import stage  # noqa: E402


def sphinx(source: Path, out: Path, doctrees: Path, fresh: bool) -> None:
    """Call sphinx-build with warnings as errors, all of them shown.

    Raises:
        BookError: when it fails.
    """
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning",
               "--quiet", "--doctree-dir", str(doctrees), str(source), str(out)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "OTLAB_BOOK": "1"}
    # A group of its own: the server that draws formulas must not outlive a build that was killed.
    process = subprocess.Popen(command + (["--fresh-env"] if fresh else []), env=environment,
                               start_new_session=True)
    try:
        code = process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
    if code < 0:
        raise chapters.BookError(f"sphinx-build was ended by signal {-code}; run the build again.")
    if code:
        raise chapters.BookError("sphinx-build stopped; its lines above name the page and line.")


@contextlib.contextmanager
def alone(path: Path):
    """One build at a time in this checkout; the second one waits, and finds nothing to do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(out: Path, *, budget: str = "page", fresh: bool = False, jobs: int = 2,
          executed: Path | None = None) -> None:
    """Everything from notebooks to finished pages.

    executed: a folder of runs at this budget that the test command kept; no chapter is run then.
    """
    work = (executed.parent if executed else ROOT / "_build") / "book"
    start = time.monotonic()
    if executed:
        print(f"1/3 chapters, as executed in {os.path.relpath(executed)}", flush=True)
        runs = chapters.executed_elsewhere(ROOT, executed, budget)
    else:
        print(f"1/3 chapters, at the {budget} budget", flush=True)
        runs = chapters.run_all(ROOT, ROOT / "_build" / "chapters", budget, fresh, jobs)
    stamp, key = work / "fingerprint", chapters.book_fingerprint(ROOT, runs, out)
    if not fresh and stamp.is_file() and stamp.read_text() == key and (out / "index.html").exists():
        print(f"The book in {os.path.relpath(out)} is unchanged.", flush=True)
        return
    stamp.unlink(missing_ok=True)
    print("2/3 pages", flush=True)
    stage.stage(ROOT, work / "source", runs)
    (out / "_static").mkdir(parents=True, exist_ok=True)  # the theme copies its logo there first
    sphinx(work / "source", out, work / "doctrees", fresh)
    print("3/3 tidying and checking every page", flush=True)
    finish.finish(ROOT, out)
    stamp.write_text(key)
    print(f"The book is in {os.path.relpath(out)}: {len(list(out.rglob('*.html')))} pages, "
          f"{time.monotonic() - start:.0f} s. Open index.html there.", flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Build the book of OT Lab.")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "html",
                        help="folder for the pages (default _build/html)")
    parser.add_argument("--budget", default="page", choices=["smoke", "page", "long", "paper"],
                        help="how much each chapter may compute (default page)")
    parser.add_argument("--fresh", action="store_true", help="run and write everything again")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N",
                        help="chapters that run at a time, each with its share of the cores")
    parser.add_argument("--from-executed", type=Path, metavar="DIR",
                        help="run nothing: take what the test command executed, at smoke")
    options = parser.parse_args(arguments)
    if options.fresh and options.out.is_dir():
        shutil.rmtree(options.out)
    try:
        with alone(ROOT / "_build" / "lock"):
            if options.from_executed:
                build(options.out.resolve(), budget="smoke", fresh=options.fresh,
                      executed=options.from_executed.resolve())
            else:
                build(options.out.resolve(), budget=options.budget, fresh=options.fresh,
                      jobs=options.jobs)
    except chapters.BookError as error:
        print(f"The book was not built: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; chapters that finished are kept.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
