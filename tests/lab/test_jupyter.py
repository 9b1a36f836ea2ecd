"""JupyterLab opens on this machine only, with a token, and leaves nothing outside."""

import json
import os
import re
import socket
import urllib.error
import urllib.request

import pytest
from tiny_chapters import otlab, wait_for

from otlab.lab import jupyter
from otlab.lab.execution.chapters import cache, root
from otlab.lab.execution.parameters import LabError


@pytest.fixture
def busy():
    with socket.socket() as taken:
        taken.bind((jupyter.HOST, 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_busy_port_is_passed_over_or_named(busy, monkeypatch):
    with pytest.raises(LabError, match=f"port {busy} is busy"):
        jupyter.choose_port(busy)
    monkeypatch.setattr(jupyter, "FIRST_PORT", busy)
    assert busy < jupyter.choose_port(None) < busy + 100
    for port in (0, -1, 70000):
        with pytest.raises(LabError, match="from 1 to 65535"):
            jupyter.choose_port(port)


def test_every_folder_of_jupyter_is_inside(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", "/elsewhere")
    monkeypatch.setenv("JUPYTER_TOKEN", "known to others")
    made = jupyter.environment(tmp_path)
    named = [k for k in made if k.startswith(("JUPYTER", "IPYTHONDIR", "MPLCONFIGDIR"))]
    assert len(named) >= 7 and all(made[k].startswith(str(tmp_path)) for k in named)
    assert "JUPYTER_TOKEN" not in made
    news = json.loads((tmp_path / "jupyter/config/labconfig/page_config.json").read_text())
    assert news["disabledExtensions"] == {jupyter.NEWS: True}
    chosen = next((tmp_path / "jupyter/config/lab").rglob("*.jupyterlab-settings"))
    chosen.write_text("the reader's own")
    jupyter.environment(tmp_path)
    assert chosen.read_text() == "the reader's own"


def test_a_display_decides_about_the_browser(monkeypatch):
    monkeypatch.setattr(jupyter.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert not jupyter.has_display()
    monkeypatch.setenv("DISPLAY", ":0")
    assert jupyter.has_display()


def test_a_server_that_ends_at_once_is_a_sentence(monkeypatch, capfd):
    monkeypatch.setattr(jupyter, "command", lambda home, port: ["false"])
    with pytest.raises(jupyter.LabFailed, match="ended at once with code 1"):
        jupyter.open_lab(browser=False)
    assert jupyter.LabFailed.code == 1


def test_every_server_starts_with_a_token_of_its_own_that_no_process_list_shows(monkeypatch, capfd):
    """That the server then asks for it is tested in the stage deep."""
    started, begin = [], jupyter.subprocess.Popen

    def popen(command, *, env, **settings):
        started.append((command, env["JUPYTER_TOKEN"]))
        return begin(["false"], env=env, **settings)

    monkeypatch.setattr(jupyter.subprocess, "Popen", popen)
    for _ in range(2):
        with pytest.raises(jupyter.LabFailed):
            jupyter.open_lab(browser=False)
    (first, token), (_, other) = started
    assert re.fullmatch("[0-9a-f]{48}", token) and token != other
    assert token not in " ".join(first)


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@pytest.mark.deep
@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a process group")
def test_lab_answers_with_its_token_only_and_stops_in_order(tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    port = jupyter.choose_port(None)
    process = otlab("lab", "--port", str(port), notebooks=tmp_path, cwd=tmp_path)
    wait_for(process, lambda: "Open" in process.stdout.readline())
    try:
        process.stdout.readline()
        url = process.stdout.readline().strip()
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/lab/(tree/notebooks/start_here\.ipynb)?"
                            r"\?token=[0-9a-f]{48}", url)
        assert ("start_here" in url) == (root() / jupyter.CONTENTS).is_file()
        token = url.split("token=")[1]
        assert get(f"http://127.0.0.1:{port}/api/contents")[0] == 403
        status, body = get(f"http://127.0.0.1:{port}/api/kernelspecs?token={token}")
        kernel = json.loads(body)["kernelspecs"]["otlab"]["spec"]
        assert status == 200 and kernel["argv"][0] == jupyter.sys.executable
        status, body = get(url)
        assert status == 200 and jupyter.NEWS in body  # among the disabled extensions
        arguments = open(f"/proc/{process.pid}/cmdline").read() if os.path.exists("/proc") else ""
        assert token not in arguments
    finally:
        process.terminate()  # as a service manager or `kill` does
        rest = process.communicate(timeout=300)[0]
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert list((tmp_path / "home").iterdir()) == []
    assert (cache() / "jupyter" / "data" / "kernels" / "otlab" / "kernel.json").is_file()
