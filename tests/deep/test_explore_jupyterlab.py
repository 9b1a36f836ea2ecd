"""Sliders in JupyterLab itself: twelve keys, twelve pictures; the latency is reported."""

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SOURCE = """
import time
import numpy as np
from otlab.lab.explore import explore, slider
from otlab.lab.scene import Points, panel, scene

X = np.random.default_rng(0).normal(size=(128, 2))

def frame(k, wait):
    time.sleep(wait)
    if k == 40:
        raise ZeroDivisionError("no mass left")
    return scene(panel(Points(X + k / 10), xlim=(-4, 8), ylim=(-4, 8)), say=f"At {k}.")

explore(frame, title="Live", alt="A cloud of points.", caption="It moves to the right.",
        k=slider(0, 40, 0, 1), wait=slider(0.0, 0.4, 0.0, 0.2))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a free port of this machine, with a home of its own; its address."""
    home = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    (home / "notebooks").mkdir()
    nbformat.write(notebook, home / "notebooks" / "live.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k != "OTLAB_EXPLORE"}
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        environment[name] = str(home / name)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0",
        "--IdentityProvider.token=secret", f"--ServerApp.root_dir={home / 'notebooks'}",
        "--LabApp.news_url=",
    ]  # fmt: skip
    log = (home / "log").open("w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token=secret", timeout=5).read()
                break
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None:
                    break
                time.sleep(0.5)
        else:
            pytest.fail("JupyterLab did not answer; its log: " + (home / "log").read_text())
        if server.poll() is not None:
            pytest.fail("JupyterLab stopped; its log: " + (home / "log").read_text())
        yield address
    finally:
        server.terminate()
        server.wait(30)
        log.close()


@pytest.fixture(scope="module")
def page(lab, browser):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(90_000)
    page.outside = []
    page.on("request", lambda r: r.url.startswith(("http", "ws")) and lab not in r.url
            and page.outside.append(r.url))
    page.goto(f"{lab}/lab/tree/live.ipynb?token=secret")
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector("figure.otlab-explore[data-drawn='1']")
    yield page
    page.close()


def drawn(page) -> int:
    return int(page.locator("figure.otlab-explore").first.get_attribute("data-drawn"))


def test_twelve_keys_give_twelve_pictures(page, record_property):
    control = page.get_by_role("slider", name="k", exact=True)
    canvas = page.locator("figure.otlab-explore canvas")
    control.focus()
    seen, latencies = set(), []
    for k in range(1, 13):
        control.press("ArrowRight")
        page.wait_for_function(
            f"document.querySelector('figure.otlab-explore').dataset.state === '{k},0'"
        )
        seen.add(canvas.evaluate("c => c.toDataURL()"))
        latencies.append(
            float(page.locator("figure.otlab-explore").get_attribute("data-latency"))
        )
    assert len(seen) == 12 and drawn(page) == 13
    median = statistics.median(latencies)
    record_property("latency_ms", median)
    print(f"\nJupyterLab: move to picture, median {median:.0f} ms of {sorted(latencies)}")
    assert page.outside == []


def test_slow_states_drop_stale_moves(page):
    wait = page.get_by_role("slider", name="wait")
    control = page.get_by_role("slider", name="k", exact=True)
    wait.press("End")
    page.wait_for_selector("figure.otlab-explore[data-state$=',2']")
    before = drawn(page)
    control.press("Home")
    for _ in range(15):
        control.press("ArrowRight")
    assert control.get_attribute("aria-valuetext") == "15"  # the control never waits
    page.wait_for_selector("figure.otlab-explore[data-state='15,2']")
    assert drawn(page) - before < 15
    wait.press("Home")
    page.wait_for_selector("figure.otlab-explore[data-state='15,0']")


def test_a_failing_state_is_a_sentence(page):
    control = page.get_by_role("slider", name="k", exact=True)
    control.press("End")
    alert = page.get_by_role("alert").filter(has_text="no mass left")
    alert.wait_for()
    assert alert.inner_text() == "At k = 40, wait = 0: ZeroDivisionError: no mass left"
    control.press("Home")
    page.wait_for_selector("figure.otlab-explore[data-state='0,0']")
    assert not alert.is_visible()
