"""What a run and a sweep say while they work: a live line on a terminal, plain lines elsewhere."""

import sys
from contextlib import contextmanager


def _terminal(stream) -> bool:
    return hasattr(stream, "isatty") and stream.isatty()


@contextmanager
def cell_progress(stream=None):
    """Yields an `on_cell` for `otlab.lab.run.execute`: cell, heading, seconds."""
    stream = stream or sys.stderr
    if not _terminal(stream):
        yield _lines(stream)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (MofNCompleteColumn(), BarColumn(bar_width=24), TimeElapsedColumn(),
               TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
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
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (MofNCompleteColumn(), BarColumn(bar_width=24), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn(),
               TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task("starting the workers", total=total, completed=finished)
        yield lambda text: bar.update(task, advance=1, description=text)
