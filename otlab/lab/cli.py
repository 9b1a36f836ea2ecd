"""The command line: otlab list · run · sweep · lab · book · version."""

import argparse
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from otlab import __version__
from otlab.lab.execution.parameters import LabError

EPILOG = """examples:
  otlab list
  otlab run large_sinkhorn_couplings -p epsilon=0.05 -p n=1024 --budget page
  otlab sweep large_sinkhorn_couplings --grid epsilon=0.1,1 --grid n=64,256 --budget page
  otlab lab

exit codes: 0 done, 1 a run failed, 2 a mistake in what was asked, 130 stopped by Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """The arguments of every command, with their help."""
    top = argparse.ArgumentParser(prog="otlab", epilog=EPILOG,
                                  formatter_class=argparse.RawDescriptionHelpFormatter,
                                  description="OT Lab: explore, run and sweep the chapters.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name, handler, text, **settings):
        made = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.",
                                   formatter_class=argparse.RawDescriptionHelpFormatter,
                                   **settings)
        made.set_defaults(handler=handler)
        return made

    command("list", _list, "show the chapters with their parameters")

    run = command("run", _run, "run one chapter and keep its notebook, page and results")
    _common(run)
    run.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE",
                     help="set a parameter; may be repeated")
    run.add_argument("--no-html", action="store_true", help="do not write page.html")

    sweep = command("sweep", _sweep, "run one chapter at every point of a grid, in parallel",
                    epilog="The same command again goes on where it stopped: finished runs in "
                           "DIR/runs are not repeated.")
    _common(sweep)
    sweep.add_argument("--grid", action="append", default=[], metavar="NAME=V1,V2,…",
                       help="values of one parameter; may be repeated, all combinations are run")
    sweep.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE",
                       help="a parameter that is the same in every run")
    sweep.add_argument("--workers", type=int, default=2, metavar="N",
                       help="runs at a time on this machine (default: 2)")
    sweep.add_argument("--scheduler", metavar="ADDRESS",
                       help="use the Dask cluster at this address, such as tcp://host:8786")
    sweep.add_argument("--fresh", action="store_true",
                       help="a new kernel for each run instead of one wiped kernel per worker")

    lab = command("lab", _lab, "open JupyterLab on the contents page of the notebooks")
    lab.add_argument("--port", type=int, help="this port (default: the first free from 8888)")
    lab.add_argument("--no-browser", action="store_true", help="print the address only")

    book = command("book", _book, "build the book into _build/html")
    book.add_argument("--out", metavar="DIR", help="another folder for the pages")

    command("version", _version, "print the versions of otlab and what it rests on")
    return top


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("chapter", metavar="CHAPTER", help="its name, or the path of a notebook")
    command.add_argument("--budget", metavar="NAME", help="smoke, page, long or paper, as far as "
                         "the chapter knows them (default: the chapter's own)")
    command.add_argument("--out", metavar="DIR", type=Path,
                         help="folder for what it leaves (default: a new one in runs/)")
    command.add_argument("--timeout", type=float, metavar="SECONDS",
                         help="the most that one cell may take (default: no limit)")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Mistakes are one sentence on stderr."""
    before = _stop_on_term()
    try:
        arguments = parser().parse_args(argv)
        return arguments.handler(arguments) or 0
    except LabError as error:
        print(f"otlab: {error}", file=sys.stderr)
        return getattr(error, "code", 2)
    except KeyboardInterrupt:
        print("otlab: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # otlab list | head
        sys.stderr.close()
        return 141
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _stop_on_term():
    """A polite kill ends a run as Ctrl-C does, so that nothing finished is lost."""
    def stop(signum, frame):
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)
    try:
        return signal.signal(signal.SIGTERM, stop)
    except ValueError:
        return None  # not the main thread


def _list(arguments) -> int:
    from otlab.lab.execution.chapters import chapters, notebooks

    found = chapters()
    if not found:
        print(f"no chapters in {notebooks()}.")
    for chapter in found.values():
        minutes = f"  ({chapter.minutes} min)" if chapter.minutes else ""
        print(f"{chapter.name}{minutes}\n  {chapter.title}")
        if chapter.summary:
            print(f"  {chapter.summary}")
        width = max((len(f"{p.name} = {p.default!r}") for p in chapter.parameters.values()),
                    default=0)
        for p in chapter.parameters.values():
            note = " | ".join(p.choices) if p.choices else p.comment
            shown = f"{p.name} = {p.default!r}"
            print(f"    {shown:<{width}}  {p.type}{'; ' + note if note else ''}")
        print()
    return 0


def _run(arguments) -> int:
    from otlab.lab.execution.chapters import find_chapter
    from otlab.lab.execution.parameters import check_parameters, parse_pairs

    chapter = find_chapter(arguments.chapter)
    given = parse_pairs(chapter.parameters, arguments.parameter, chapter=chapter.name)
    values = check_parameters(chapter.parameters, given, budget=arguments.budget,
                              chapter=chapter.name)
    _keep_inside()
    with _imports_ahead(values.get("budget")):
        return _execute(arguments, chapter, values)


@contextmanager
def _imports_ahead(budget: str | None):
    """At smoke, a process imports for the kernel and its scripts while this one imports too."""
    import os

    from otlab.core import ready
    from otlab.lab.execution.chapters import compiled, quick_compiler
    from otlab.lab.execution.parameters import effective_budget

    if (effective_budget(budget) != "smoke" or os.name != "posix"
            or ready.VARIABLE in os.environ):
        yield
        return
    process = ready.Ready(compiled() | quick_compiler())
    os.environ[ready.VARIABLE] = process.path
    try:
        yield
    finally:
        del os.environ[ready.VARIABLE]
        process.close()


def _execute(arguments, chapter, values) -> int:
    """The run itself, once all that was asked for is known to be right."""
    from otlab.lab.execution import light_imports  # noqa: F401
    from otlab.lab.execution.forked import fork_kernels
    from otlab.lab.execution.progress import cell_progress
    from otlab.lab.execution.record import keep_record
    from otlab.lab.execution.run import execute, free_folder

    fork_kernels()
    out = free_folder(arguments.out or _new_folder(chapter.name))
    if arguments.out and out != arguments.out:
        print(f"{arguments.out} already holds something, which stays; this run goes to {out}.",
              file=sys.stderr)
    try:
        with cell_progress() as tell:
            result = execute(chapter, parameters=values, out=out, on_cell=tell,
                             static=values.get("budget") != "smoke",
                             html=not arguments.no_html, timeout=arguments.timeout)
    except KeyboardInterrupt:
        print(f"otlab: stopped; the cells that ran are in {out}.", file=sys.stderr)
        return 130
    print(result.sentence(), file=sys.stdout if result.status == "ok" else sys.stderr)
    for claim in result.claims:
        print(f"  {claim['number']}. {claim['claim']}: {claim['measured']} ({claim['verdict']})")
    for row in result.found:
        print(f"  Found {row['number']}. {row['found']}: {row['measured']} ({row['standing']})")
    print(f"{out}/: " + ", ".join(sorted(p.name for p in out.iterdir())))
    if kept := keep_record(chapter, out):
        print(f"record of the page run: {kept}")
    return 0 if result.status == "ok" else 1


def _new_folder(name: str) -> Path:
    import datetime

    return Path("runs") / name / datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def _keep_inside() -> None:
    """Let matplotlib keep its font list under .cache, not at home."""
    import os

    from otlab.lab.execution.chapters import cache

    os.environ.setdefault("MPLCONFIGDIR", str(cache() / "matplotlib"))


def _sweep(arguments) -> int:
    from otlab.lab.execution.chapters import find_chapter
    from otlab.lab.sweeps.grid import read_grid

    chapter = find_chapter(arguments.chapter)
    grid = read_grid(chapter, arguments.grid, arguments.parameter, arguments.budget)
    if arguments.workers < 1:
        raise LabError(f"--workers wants at least 1; got {arguments.workers}.")
    from otlab.lab.sweeps.sweep import sweep

    out = arguments.out or Path("runs") / chapter.name / "sweep"
    _keep_inside()
    try:
        done = sweep(chapter, grid, out=out, workers=arguments.workers,
                     scheduler=arguments.scheduler, fresh=arguments.fresh,
                     timeout=arguments.timeout)
    except KeyboardInterrupt:
        print(f"otlab: stopped; finished runs are kept in {out}, and the same command goes on "
              "from there.", file=sys.stderr)
        return 130
    print(done.sentence(), file=sys.stderr if done.failed else sys.stdout)
    return 1 if done.failed else 0


def _lab(arguments) -> int:
    from otlab.lab.jupyter import open_lab

    return open_lab(port=arguments.port, browser=not arguments.no_browser)


def _book(arguments) -> int:
    import subprocess

    from otlab.lab.execution.chapters import root

    script = root() / "jupyter_book" / "build.py"
    if not script.is_file():
        raise LabError(f"there is no {script}: the book is built inside a checkout of OT Lab.")
    extra = ["--out", arguments.out] if arguments.out else []
    return subprocess.call([sys.executable, str(script), *extra])


def _version(arguments) -> int:
    import platform
    from importlib import metadata

    print(f"otlab {__version__}\npython {platform.python_version()}")
    for name in ("jax", "numpy", "equinox", "diffrax", "ott-jax", "torch", "jupyterlab",
                 "papermill", "distributed"):
        try:
            print(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            print(f"{name} not installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
