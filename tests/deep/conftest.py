"""The deep stage: tests that take their time, and a browser for those that need one."""

import chromium
import pytest


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium with a home of its own."""
    with chromium.started(tmp_path_factory.mktemp("home")) as started:
        yield started
