import pytest

from otlab.lab.budget import budget

TABLE = {"smoke": 1, "page": 2, "paper": 3}


def test_environment_lowers_and_never_raises(monkeypatch):
    monkeypatch.delenv("OTLAB_BUDGET", raising=False)
    assert budget("page", TABLE) == 2
    monkeypatch.setenv("OTLAB_BUDGET", "smoke")
    assert budget("page", TABLE) == 1
    monkeypatch.setenv("OTLAB_BUDGET", "paper")
    assert budget("smoke", TABLE) == 1


def test_failure_names_the_known_ones(monkeypatch):
    monkeypatch.delenv("OTLAB_BUDGET", raising=False)
    with pytest.raises(ValueError, match="smoke, page, paper; got 'long'"):
        budget("long", TABLE)
    monkeypatch.setenv("OTLAB_BUDGET", "quick")
    with pytest.raises(ValueError, match="OTLAB_BUDGET"):
        budget("page", TABLE)
