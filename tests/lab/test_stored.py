import numpy as np
import pytest

from otlab.lab.stored import stored


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OTLAB_RESULTS", str(tmp_path))
    return tmp_path


def test_save_then_read_gives_the_same_arrays_and_says_how(folder):
    made = stored("chapter", "run", lambda: {"a": [1.5, 2.5], "b": np.eye(2)}, mode="save")
    read = stored("chapter", "run", lambda: {}, mode="read")
    assert np.array_equal(read["a"], [1.5, 2.5]) and np.array_equal(read["b"], made["b"])
    assert "otlab run chapter --budget long" in str(read) and "saved on" in str(read)
    assert "just now" in str(made)


def test_other_parameters_than_the_saved_ones_are_said(folder):
    stored("chapter", "run", lambda: {"a": 1}, mode="save", given={"epsilon": 0.1, "seed": 0})
    same = stored("chapter", "run", lambda: {}, mode="read", given={"epsilon": 0.1, "seed": 0})
    other = stored("chapter", "run", lambda: {}, mode="read", given={"epsilon": 0.5, "seed": 0})
    assert "not your" not in str(same)
    assert "with epsilon = 0.1, not your 0.5" in str(other) and "seed" not in str(other)
    assert other.differs == {"epsilon": (0.1, 0.5)} and same.differs == {}
    assert same.brief == "saved run “run”; see the last note" and not same.fresh
    assert "not your 0.5" in other.brief


def test_compute_leaves_nothing(folder):
    assert stored("chapter", "run", lambda: {"a": 1}, mode="compute")["a"] == 1
    assert not list(folder.rglob("*.npz"))


def test_texts_are_saved_as_json_that_a_reader_can_open(folder):
    values = {"texts": [["a sea", "über “x”"]], "p": [[0.5, np.nan]]}
    stored("chapter", "run", lambda: values, mode="save", form="json", given={"n": 1})
    read = stored("chapter", "run", lambda: {}, mode="read", form="json", given={"n": 2})
    assert read["texts"].tolist() == values["texts"] and "n = 1, not your 2" in str(read)
    assert np.array_equal(read["p"], values["p"], equal_nan=True)
    assert "“x”" in (folder / "chapter" / "run.json").read_text("utf-8")
    with pytest.raises(ValueError, match="npz, json"):
        stored("chapter", "run", lambda: {}, mode="read", form="pickle")


@pytest.mark.parametrize("form", ["npz", "json"])
def test_resumed_runs_compute_only_what_is_missing_or_was_run_otherwise(folder, form):
    calls = []

    def compute():
        calls.append(1)
        return {"a": len(calls)}

    settings = dict(mode="resume", form=form)
    assert stored("chapter", "run", compute, given={"n": 1}, **settings).fresh
    again = stored("chapter", "run", compute, given={"n": 1}, **settings)
    assert again["a"] == 1 and not again.fresh
    assert stored("chapter", "run", compute, given={"n": 2}, **settings)["a"] == 2


def test_failed_run_leaves_the_old_result(folder):
    stored("chapter", "run", lambda: {"a": 1}, mode="save")
    with pytest.raises(ZeroDivisionError):
        stored("chapter", "run", lambda: {"a": 1 / 0}, mode="save")
    assert stored("chapter", "run", lambda: {}, mode="read")["a"] == 1


def test_failure_sentences(folder):
    with pytest.raises(FileNotFoundError, match="otlab run chapter --budget long"):
        stored("chapter", "run", lambda: {}, mode="read")
    with pytest.raises(ValueError, match="read, compute, save"):
        stored("chapter", "run", lambda: {}, mode="maybe")
    with pytest.raises(KeyError, match="holds a"):
        stored("chapter", "run", lambda: {"a": 1}, mode="compute")["b"]
