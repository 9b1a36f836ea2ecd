"""A process that has imported what chapters import, and forks: what starts from it starts at once.

Half of a short run is imports: jax, matplotlib and the kernel's own take five seconds of a core,
for each kernel and again for each script that a chapter hands to another process. Here they are
paid once. Every fork begins with the same imported modules and nothing else: no variable, figure,
setting, random state or computed value of an earlier one reaches it, since jax has not yet looked
for its devices when the forks are made.

`Ready` starts such a process and lives with its owner; kernels and scripts that it forks find its
socket in the environment variable OTLAB_READY. Only for systems that fork (not Windows).
"""

import importlib
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress

VARIABLE = "OTLAB_READY"
MODULES = ("IPython.core.interactiveshell", "ipykernel.kernelapp", "ipykernel.ipkernel",
           "matplotlib.pyplot", "scipy.special", "jax", "jax.numpy", "equinox", "optax",
           "sklearn.datasets")
INLINE = "module://matplotlib_inline.backend_inline"
# Read by jax and matplotlib when they are imported: a fork cannot have others.
AT_IMPORT = ("JAX_", "MPLCONFIGDIR", "PYTHON")
FORKED = {"JAX_PLATFORMS"}  # but this one is set again in the fork


class Ready:
    """Starts the process. environment: of it, and of what it forks unless that is given one.

    `close` ends it, and what it forked; so does the end of its owner.
    """

    def __init__(self, environment: dict[str, str] | None = None, modules=MODULES):
        self._folder = tempfile.mkdtemp(prefix="otlab-")
        self.path = os.path.join(self._folder, "ready")
        with socket.socket(socket.AF_UNIX) as listener:  # who asks before the imports end, waits
            listener.bind(self.path)
            listener.listen(16)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "otlab.core.ready", str(listener.fileno()), *modules],
                env=os.environ | (environment or {}), stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                pass_fds=[listener.fileno()])

    def fork(self, **request) -> "Forked":
        """See `fork`."""
        return fork(self.path, **request)

    def close(self) -> None:
        """End the process and all that it forked; safe to call twice."""
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def fork(path: str, *, env: dict[str, str], cwd: str, source: str | None = None,
         argv: list[str] = (), stdout: int, stderr: int) -> "Forked":
    """Start a kernel or a script from the ready process at `path`.

    Args:
        env: its whole environment. What jax reads when it is imported must be the process's own.
        source: Python to run; None for a kernel, with `argv` as its arguments.
        stdout, stderr: file descriptors.

    Raises:
        OSError: when no process listens there, or it refuses; start an ordinary one instead.
    """
    asked = {"env": env, "cwd": cwd, "source": source, "argv": list(argv)}
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
        socket.send_fds(connection, [b"F"], [stdout, stderr])
        data = json.dumps(asked).encode()
        connection.sendall(len(data).to_bytes(8, "big") + data)
        answer = connection.recv(64)  # for as long as it still imports
    except BaseException:
        connection.close()
        raise
    if not answer.startswith(b"pid"):
        connection.close()
        raise OSError(f"the ready process refuses: {answer.decode() or 'it ended'}")
    return Forked(int(answer.split()[1]), connection)


class Forked:
    """A forked process, with the methods of subprocess.Popen that a kernel's manager calls."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, connection: socket.socket):
        self.pid, self.returncode, self._connection = pid, None, connection

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, as Popen's.

        Raises:
            subprocess.TimeoutExpired: when it still runs then.
        """
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("fork", timeout)
            said = self._connection.recv(64)
            self.returncode = int(said) if said else -signal.SIGKILL  # the ready process is gone
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Like Popen's."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def serve(listener: socket.socket, modules: list[str]) -> None:
    """Import, then fork for each request until standard input is closed."""
    for name in modules:
        with suppress(ImportError):
            importlib.import_module(name)
    own = dict(os.environ)
    wakes, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, socket.socket] = {}
    ours = [listener, wakes, woken]
    while True:
        found = select.select([listener, wakes, sys.stdin], [], [])[0]
        if sys.stdin in found:
            break
        if wakes in found:
            wakes.recv(4096)
            _report(children)
        if listener in found:
            _answer(listener.accept()[0], own, children, ours)
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _report(children) -> None:
    """Tell the owners of forks that ended."""
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with suppress(OSError), children.pop(pid) as connection:
                connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _answer(connection, own, children, ours) -> None:
    """Read one request and fork for it; in the fork this does not return."""
    streams = []
    try:
        streams = socket.recv_fds(connection, 1, 2)[1]
        asked = json.loads(_exactly(connection, int.from_bytes(_exactly(connection, 8), "big")))
        other = [name for name in {*own, *asked["env"]} - FORKED
                 if name.startswith(AT_IMPORT) and own.get(name) != asked["env"].get(name)]
        if other:
            raise ValueError(f"it was started with another {', '.join(sorted(other))}")
        pid = os.fork()
        if pid == 0:
            _become(asked, streams, [connection, *children.values(), *ours])
        children[pid] = connection
        connection.sendall(f"pid {pid}".encode())
    except (ValueError, OSError) as error:
        with suppress(OSError):
            connection.sendall(str(error).encode()[:60])
        connection.close()
    finally:
        for stream in streams:
            os.close(stream)


def _exactly(connection, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise OSError("cut short")
        data += part
    return data


def _become(asked, streams, sockets) -> None:
    """Turn this fork into the kernel or the script that was asked for."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, number)
        for item in sockets:
            item.close()
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        random.seed()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        if "jax" in sys.modules:
            platforms = asked["env"].get("JAX_PLATFORMS") or None
            sys.modules["jax"].config.update("jax_platforms", platforms)
        code = _run(asked)
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(asked) -> int:
    if asked["source"] is not None:
        sys.argv = ["-c"]
        sys.path.insert(0, "")
        exec(compile(asked["source"], "<string>", "exec"), {"__name__": "__main__"})
        return 0
    from ipykernel import kernelapp

    backend = os.environ.setdefault("MPLBACKEND", INLINE)
    if "matplotlib" in sys.modules:  # it read the variable before
        sys.modules["matplotlib"].rcParams["backend"] = backend
    sys.argv = ["ipykernel_launcher", *asked["argv"]]
    kernelapp.launch_new_instance()
    return 0


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())
                   or entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
