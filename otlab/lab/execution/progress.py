"""What a run and a sweep say while they work: a live line on a terminal, plain lines elsewhere."""

import sys
from contextlib import contextmanager


def _terminal(stream) -> bool:
    return hasattr(stream, "isatty") and stream.isatty()


def _bar(stream, *, left: bool = False, transient: bool = False):
    """A live bar with a count and a clock. left: also say how long it will still take."""
    from rich import progress
    from rich.console import Console

    remaining = (progress.TextColumn("left"), progress.TimeRemainingColumn()) if left else ()
    return progress.Progress(
        progress.MofNCompleteColumn(), progress.BarColumn(bar_width=24),
        progress.TimeElapsedColumn(), *remaining,
        progress.TextColumn("{task.description}", markup=False),
        console=Console(file=stream), transient=transient)


@contextmanager
def cell_progress(stream=None):
    """Yields an `on_cell` for `otlab.lab.execution.run.execute`: cell, heading, seconds."""
    stream = stream or sys.stderr
    if not _terminal(stream):
        yield _lines(stream)
        return
    with _bar(stream, transient=True) as bar:
        task = bar.add_task("starting the kernel", total=None)

        def tell(event):
            done = event.number - (event.state == "running")
            bar.update(task, total=event.total, completed=done,
                       description=event.heading or "before the first heading")
        yield tell


def _lines(stream):
    def tell(event):
        if event.state != "running":
            width = len(str(event.total))
            word = "" if event.state == "completed" else f"  {event.state.upper()}"
            print(f"[{event.number:>{width}}/{event.total}] {event.heading} "
                  f"({event.seconds:.1f} s){word}", file=stream, flush=True)
    return tell


@contextmanager
def run_progress(total: int, finished: int, stream=None):
    """Yields ``tell(text)``, to be called once for each run of a sweep that ended."""
    stream = stream or sys.stderr
    if not _terminal(stream):
        count = finished

        def plain(text):
            nonlocal count
            count += 1
            print(f"[{count}/{total}] {text}", file=stream, flush=True)
        yield plain
        return
    with _bar(stream, left=True) as bar:
        task = bar.add_task("starting the workers", total=total, completed=finished)
        yield lambda text: bar.update(task, advance=1, description=text)
