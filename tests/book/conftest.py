"""The built book behind a local server, and Debian's Chromium in front of it."""

import functools
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import chromium
import pytest
from reading import ROOT, SMOKE


def pytest_collection_modifyitems(items):
    """Every test of this folder needs a browser, and takes its time."""
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium with a home of its own."""
    with chromium.started(tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture(scope="session")
def built_book() -> Path:
    """The folder of the built pages.

    OTLAB_BUILT_BOOK names it; without that, the book of the chapters that nbval executed is
    built, which costs nothing when nothing has changed.
    """
    if named := os.environ.get("OTLAB_BUILT_BOOK"):
        book = (ROOT / named).resolve()
        if not (book / "index.html").is_file():
            pytest.fail(f"there is no book in {named}; the stage before this one builds it")
        return book
    done = subprocess.run([sys.executable, str(ROOT / "jupyter_book" / "build.py"),
                           "--from-executed", str(SMOKE / "chapters"),
                           "--out", str(SMOKE / "html")], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        pytest.fail("the book was not built:\n" + done.stdout[-4_000:])
    return SMOKE / "html"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def address(built_book) -> str:
    """Where the book is served, on this machine only."""
    handler = functools.partial(Quiet, directory=str(built_book))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def open_page(browser, address):
    """open_page(path, **context settings) -> a page that may talk to the local server only.

    page.outside: addresses on other hosts that it asked for. page.errors: what its scripts threw.
    """
    contexts = []

    def open_(path: str, **settings):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.outside, page.errors = [], []

        def guard(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                page.outside.append(route.request.url)
                route.abort()

        context.route("**/*", guard)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(f"{address}/{path}")
        return page

    yield open_
    for context in contexts:
        context.close()
