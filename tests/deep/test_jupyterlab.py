"""JupyterLab as `make lab` opens it: a chapter is run at the smoke budget and a slider moved."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

import pytest
from reading import REPORTS, ROOT, report

CHAPTER = ROOT / "notebooks" / "flows" / "large_sinkhorn_couplings.ipynb"
FIGURE = "figure.otlab-explore"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def lab():
    """`otlab lab --no-browser`; gives (address, token, seconds until it answered)."""
    environment = {k: v for k, v in os.environ.items() if k != "OTLAB_EXPLORE"}
    environment |= {"OTLAB_BUDGET": "smoke", "PYTHONUNBUFFERED": "1"}
    port, start = free_port(), time.monotonic()
    server = subprocess.Popen(
        [sys.executable, "-m", "otlab.lab.cli", "lab", "--no-browser", "--port", str(port)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, url = [], []

    def listen():
        for line in server.stdout:
            said.append(line)
            if "token=" in line:
                url.append(line.strip())

    threading.Thread(target=listen, daemon=True).start()
    try:
        while not url and time.monotonic() - start < 90 and server.poll() is None:
            time.sleep(0.1)
        if not url:
            pytest.fail("otlab lab printed no address: " + "".join(said))
        yield (f"http://127.0.0.1:{port}", url[0].split("token=")[1].split()[0],
               time.monotonic() - start)
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def copy():
    """A copy of the chapter inside the checkout, so that JupyterLab saves nothing into it."""
    folder = ROOT / "_build" / "jupyterlab"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / CHAPTER.name
    notebook = json.loads(CHAPTER.read_text("utf-8"))
    for cell in notebook["cells"]:  # the copy shows that each cell ran here
        if cell["cell_type"] == "code":
            cell["execution_count"], cell["outputs"] = None, []
    target.write_text(json.dumps(notebook))
    yield target
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def page(browser, lab, copy):
    """The chapter, opened and run to its end."""
    address, token, _ = lab
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.outside = []
    page.on("request", lambda r: page.outside.append(r.url)
            if r.url.startswith(("http", "ws")) and "127.0.0.1" not in r.url else None)
    page.goto(f"{address}/lab/tree/{copy.relative_to(ROOT).as_posix()}?token={token}")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_text("| Idle").wait_for()  # before that, a cell that is run stays silent
    page.locator(".jp-Notebook .jp-Cell").first.click()
    start = time.monotonic()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    while time.monotonic() - start < 240:  # saving shows how far it has come
        page.wait_for_timeout(1_500)
        page.keyboard.press("Control+s")
        page.wait_for_timeout(500)
        cells = code_cells(copy)
        if all(c["execution_count"] for c in cells) or errors_of(cells):
            break
    page.seconds = time.monotonic() - start
    page.screenshot(path=REPORTS / "jupyterlab.png")
    yield page
    context.close()


def code_cells(path) -> list[dict]:
    """Code cells that hold something, as last saved."""
    return [c for c in json.loads(path.read_text("utf-8"))["cells"]
            if c["cell_type"] == "code" and "".join(c["source"]).strip()]


def errors_of(cells) -> list[str]:
    return [f"{o['ename']}: {o['evalue']}" for c in cells for o in c["outputs"]
            if o["output_type"] == "error"]


def find_slider(page):
    """Scroll until the first live slider is there; JupyterLab draws only the cells in view."""
    page.locator(".jp-WindowedPanel-outer, .jp-Notebook").first.hover()
    page.keyboard.press("Escape")
    page.mouse.wheel(0, -100_000)
    for _ in range(120):
        sliders = page.locator(f"{FIGURE} input[type=range]")
        if sliders.count() and sliders.first.is_visible():
            sliders.first.scroll_into_view_if_needed()
            return sliders.first
        page.mouse.wheel(0, 450)
        page.wait_for_timeout(120)
    pytest.fail("no live slider appeared in JupyterLab")


def test_the_chapter_runs_to_its_end_without_an_error(page, copy):
    cells = code_cells(copy)
    assert errors_of(cells) == []
    assert all(c["execution_count"] for c in cells), "some cells were not run"


def test_a_slider_moves_its_picture_by_keyboard(page, lab):
    slider = find_slider(page)
    figure = slider.locator("xpath=ancestor::figure")
    slider.focus()
    slider.press("Home")
    page.wait_for_timeout(500)
    picture = "f => [...f.querySelectorAll('canvas')].map(c => c.toDataURL()).join()"
    seen, latencies = {figure.evaluate(picture)}, []
    steps = min(10, int(slider.get_attribute("max")))
    for _ in range(steps):
        drawn = int(figure.get_attribute("data-drawn"))
        slider.press("ArrowRight")
        page.wait_for_function(
            "([f, n]) => Number(f.dataset.drawn) > n", arg=[figure.element_handle(), drawn])
        seen.add(figure.evaluate(picture))
        latencies.append(float(figure.get_attribute("data-latency")))
    median = statistics.median(latencies)
    report("latency", {"jupyterlab": {
        "start_s": round(lab[2], 1), "chapter_at_smoke_s": round(page.seconds, 1),
        "moves": steps, "median_ms": round(median, 1), "worst_ms": round(max(latencies), 1)}})
    print(f"\nJupyterLab answered after {lab[2]:.1f} s, the chapter ran in {page.seconds:.0f} s, "
          f"a move took {median:.0f} ms (worst {max(latencies):.0f} ms)")
    assert len(seen) > steps / 2
    assert page.outside == []
