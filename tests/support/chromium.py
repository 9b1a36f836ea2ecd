"""Headless Chromium for the tests that need a browser; they are skipped where there is none."""

import contextlib
import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
             "--enable-unsafe-swiftshader",  # WebGL without a graphics card
             "--disable-component-update", "--no-first-run", "--disable-default-apps"]


def find() -> str | None:
    """The browser's path: OTLAB_CHROMIUM, or the first known name on PATH."""
    return os.environ.get("OTLAB_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def started(home):
    """A browser that keeps its profile and caches in the folder `home`."""
    path = find()
    if path is None:
        pytest.skip("no Chromium on this machine; `apt install chromium`, or set OTLAB_CHROMIUM")
    if os.environ.get("OTLAB_COMPLETE") != "1":            # `make setup` installs playwright
        pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from playwright import sync_api as api

    own = {"HOME": home, "XDG_CONFIG_HOME": home / "config", "XDG_CACHE_HOME": home / "cache"}
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS,
            env=os.environ | {name: str(folder) for name, folder in own.items()})
        yield browser
        browser.close()
