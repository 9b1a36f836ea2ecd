"""One process in a run's folder at a time."""

import contextlib
import errno
import os
import socket
from pathlib import Path

NAME = "in_use.lock"
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class InUse(RuntimeError):
    """Another process trains in the folder."""


@contextlib.contextmanager
def alone(folder: Path):
    """Hold the folder until the block ends.

    A small file names the process that holds it, and the system's own lock (flock) is on that
    file. The lock ends with its process, however that ends: the file that a killed run leaves
    behind stops nobody. Nothing is held where there are no such locks (Windows, some file
    systems of clusters).

    Raises:
        InUse: when another process holds the folder, or another call in this one.
    """
    file = _locked(folder / NAME) if os.name == "posix" else None
    if file is None:
        yield
        return
    with file:                       # closing it ends the lock
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            (folder / NAME).unlink(missing_ok=True)


def _locked(path: Path):
    """The open, locked file; None where the file system has no locks."""
    import fcntl

    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read() or "another process"
            raise InUse(f"folder {path.parent.name} is in use: {holder} trains there. Wait until "
                        "it ends or stop it, and this run goes on from its last checkpoint; or "
                        "name another folder.") from None
        except OSError as error:
            file.close()
            if error.errno in _NO_LOCKS_HERE:
                return None
            raise
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()                 # its last holder ended meanwhile and took the file along
