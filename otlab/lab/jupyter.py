"""Opens JupyterLab on the contents page: token on, this machine only, nothing left outside.

Settings, runtime files and the kernel's description live under .cache of the checkout; the pop-up
that asks about news is off.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from otlab.lab.execution.chapters import cache, compiled, root
from otlab.lab.execution.parameters import LabError

HOST = "127.0.0.1"
FIRST_PORT = 8888
CONTENTS = "notebooks/start_here.ipynb"
NEWS = "@jupyterlab/apputils-extension:announcements"


class LabFailed(LabError):
    """JupyterLab could not be opened; its text says why."""

    code = 1


def open_lab(*, port: int | None = None, browser: bool = True, stream=None) -> int:
    """Run JupyterLab until it is stopped; returns its exit code.

    Args:
        port: this port and no other; None for the first free one from 8888.
        browser: open a browser when there is a display; the address is printed in any case.
        stream: where to print (standard output).

    Raises:
        LabFailed: when JupyterLab is missing or ends before it answers.
        LabError: for a port that is busy or out of range.
    """
    stream = stream or sys.stdout
    home = root()
    chosen = choose_port(port)
    if port is None and chosen != FIRST_PORT:
        print(f"Port {FIRST_PORT} is busy; using {chosen}.", file=stream, flush=True)
    token = secrets.token_hex(24)
    start = time.monotonic()
    server = subprocess.Popen(command(home, chosen), cwd=home,
                              env=environment(cache()) | {"JUPYTER_TOKEN": token})
    try:
        _wait_until_it_answers(server, chosen)
        page = CONTENTS if (home / CONTENTS).is_file() else ""
        url = f"http://{HOST}:{chosen}/lab/{'tree/' + page if page else ''}?token={token}"
        print(f"JupyterLab answers after {time.monotonic() - start:.1f} s. Open\n\n  {url}\n\n"
              "Ctrl-C stops it.", file=stream, flush=True)
        if browser and has_display():
            import webbrowser

            webbrowser.open(url)
        return _wait(server)
    except KeyboardInterrupt:
        return _wait(server)
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(20)


def command(home: Path, port: int) -> list[str]:
    """The server's command line."""
    settings = {"ServerApp.ip": HOST, "ServerApp.port": port, "ServerApp.port_retries": 0,
                "ServerApp.root_dir": home, "ServerApp.open_browser": False,
                "ServerApp.answer_yes": True, "ServerApp.log_level": "ERROR",
                "ServerApp.allow_root": True, "LabApp.log_level": "ERROR",
                "LabServerApp.log_level": "ERROR",
                "LanguageServerManager.autodetect": False,  # it would call npm, which logs at home
                "LabApp.check_for_updates_class":
                    "jupyterlab.handlers.announcements.NeverCheckForUpdate"}
    return [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in settings.items())]


def environment(folder: Path) -> dict[str, str]:
    """The server's environment, with every folder that Jupyter writes to under `folder`."""
    base = folder / "jupyter"
    own = {"JUPYTER_CONFIG_DIR": base / "config", "JUPYTER_DATA_DIR": base / "data",
           "JUPYTER_RUNTIME_DIR": base / "runtime",
           "JUPYTERLAB_SETTINGS_DIR": base / "config" / "lab" / "user-settings",
           "JUPYTERLAB_WORKSPACES_DIR": base / "config" / "lab" / "workspaces",
           "IPYTHONDIR": folder / "ipython", "MPLCONFIGDIR": folder / "matplotlib"}
    _write(own["JUPYTER_CONFIG_DIR"] / "labconfig" / "page_config.json",
           {"disabledExtensions": {NEWS: True}})
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "OT Lab", "language": "python", "metadata": {"debugger": True}}
    _write(own["JUPYTER_DATA_DIR"] / "kernels" / "otlab" / "kernel.json", spec)
    # The news pop-up is also off for whoever looks at the settings.
    _write(own["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab" / "apputils-extension"
           / "notification.jupyterlab-settings",
           {"fetchNews": "false", "checkForUpdates": False}, keep=True)
    inherited = {k: v for k, v in os.environ.items() if k != "JUPYTER_TOKEN"}
    return inherited | compiled() | {k: str(v) for k, v in own.items()}


def choose_port(port: int | None) -> int:
    """`port` if it is free, or the first free one from 8888.

    Raises:
        LabError: for a port that is busy or out of range.
    """
    if port is not None:
        if not 1 <= port <= 65535:
            raise LabError(f"--port wants a number from 1 to 65535; got {port}.")
        if not _free(port):
            raise LabError(f"port {port} is busy or not allowed; choose another, or leave --port "
                           "away to take the first free one.")
        return port
    for candidate in range(FIRST_PORT, FIRST_PORT + 100):
        if _free(candidate):
            return candidate
    raise LabError(f"all ports from {FIRST_PORT} to {FIRST_PORT + 99} are busy; "
                   "name a free one with --port.")


def has_display() -> bool:
    """Whether a browser can open here."""
    if os.environ.get("BROWSER") or sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _wait_until_it_answers(server, port, limit: float = 120.0) -> None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if server.poll() is not None:
            raise LabFailed(f"JupyterLab ended at once with code {server.returncode}; its message "
                            "stands above. `make setup` installs what it needs.")
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/api", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it answers, if only to say no
        except OSError:
            time.sleep(0.1)
    raise LabFailed(f"JupyterLab did not answer on port {port} within {limit:.0f} s.")


def _wait(server) -> int:
    """The server's exit code; Ctrl-C reaches it too, and ends it in order."""
    while True:
        try:
            code = server.wait()
            return 0 if code in (0, -signal.SIGINT, -signal.SIGTERM) else code
        except KeyboardInterrupt:
            server.terminate()


def _write(path: Path, data: dict, keep: bool = False) -> None:
    if keep and path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
