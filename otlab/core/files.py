"""Files that are there whole or not at all: written aside, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def aside(path) -> Iterator[Path]:
    """A path to write to while the block runs; what is there at its end takes the place of `path`.

    Folders are made. A block that fails leaves the old file at `path`, and nothing beside it.
    The name has no suffix that numpy would know: give `numpy.savez` an open file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
