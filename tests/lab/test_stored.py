import numpy as np
import pytest

from otlab.lab.stored import label, stored


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


def test_a_result_that_cannot_be_written_leaves_the_old_one_and_nothing_beside_it(folder):
    stored("chapter", "run", lambda: {"a": 1}, mode="save", form="json")
    with pytest.raises(TypeError, match="not JSON serializable"):
        stored("chapter", "run", lambda: {"a": np.array({1, 2})}, mode="save", form="json")
    stored("chapter", "run", lambda: {"a": 2}, mode="save")
    assert sorted(p.name for p in (folder / "chapter").iterdir()) == ["run.json", "run.npz"]
    assert stored("chapter", "run", lambda: {}, mode="read", form="json")["a"] == 1
    assert stored("chapter", "run", lambda: {}, mode="read")["a"] == 2


def test_failure_sentences(folder):
    with pytest.raises(FileNotFoundError, match="otlab run chapter --budget long"):
        stored("chapter", "run", lambda: {}, mode="read")
    with pytest.raises(ValueError, match="read, compute, save"):
        stored("chapter", "run", lambda: {}, mode="maybe")
    with pytest.raises(KeyError, match="holds a"):
        stored("chapter", "run", lambda: {"a": 1}, mode="compute")["b"]


AXES = {"runs": {"seed": range(3), "loss": ["fit", "gap"], "measure": ["error", "spent"]}}
RUNS = np.arange(12.0).reshape(3, 2, 2)


@pytest.mark.parametrize("form", ["npz", "json"])
def test_what_was_measured_is_read_by_name(folder, form):
    stored("chapter", "run", lambda: {"runs": RUNS}, mode="save", form=form, axes=AXES)
    run = stored("chapter", "run", dict, mode="read", form=form)  # the file says its axes
    number = run.at(seed=2, loss="gap", measure="error")
    assert number == RUNS[2, 1, 0] and type(number) is float
    assert np.array_equal(run.at(loss="gap", measure="error"), RUNS[:, 1, 0])
    assert np.array_equal(run.at(measure="error", seed=[2, 0]), RUNS[[2, 0], :, 0])
    assert np.array_equal(run.at("runs", loss=("gap",)), RUNS[:, 1:])
    assert run.labels("loss") == ["fit", "gap"] and list(run.axes["runs"]) == list(AXES["runs"])
    assert np.array_equal(run["runs"], RUNS)


def test_labels_are_numbers_texts_places_or_another_array(folder):
    made = {"λ": np.geomspace(1e-3, 10, 9), "ends": np.ones((9, 4)), "texts": [["a", "b"]]}
    axes = {"ends": {"weight": "λ", "point": None}, "texts": {"seed": [0], "text": None}}
    run = stored("chapter", "run", lambda: made, mode="compute", axes=axes)
    assert run.at("ends", weight=1.0, point=3) == 1  # geomspace holds 0.99…, or 1.00…
    assert run.at("texts", seed=0, text=1) == "b" and run.labels("weight")[-1] == 10


def test_older_results_read_as_before_and_take_axes_that_fit(folder):
    stored("chapter", "run", lambda: {"runs": RUNS}, mode="save")
    plain = stored("chapter", "run", dict, mode="read")
    assert np.array_equal(plain["runs"], RUNS) and plain.axes == {}
    with pytest.raises(KeyError, match="holds runs"):
        plain.at(loss="gap")
    with pytest.raises(KeyError, match=r"read it by place, run\['runs'\]"):
        plain.at("runs", loss="gap")
    assert stored("chapter", "run", dict, mode="read", axes=AXES).at(
        seed=0, loss="fit", measure="spent") == 1
    with pytest.raises(ValueError, match=r"seed of 'runs' has 2 labels.*\(3, 2, 2\) has 3"):
        stored("chapter", "run", dict, mode="read",
               axes={"runs": AXES["runs"] | {"seed": range(2)}})


@pytest.mark.parametrize("form", ["npz", "json"])
def test_label_names_the_axes_of_a_saved_file_and_changes_nothing_else(folder, form):
    before = stored("chapter", "run", lambda: {"runs": RUNS, "b": ["x"]}, mode="save", form=form,
                    given={"n": 1})
    label("chapter", "run", AXES, form=form)
    # The file's axes stand, also where the reader asks for fewer seeds.
    after = stored("chapter", "run", dict, mode="read", form=form, given={"n": 2},
                   axes={"runs": AXES["runs"] | {"seed": range(2)}})
    assert after.at(seed=2, loss="gap", measure="spent") == 11 and after["b"].tolist() == ["x"]
    assert after["runs"].dtype == RUNS.dtype and np.array_equal(after["runs"], RUNS)
    assert {k: after.stamp[k] for k in ("date", "machine", "seconds", "given", "command")} == {
        k: before.stamp[k] for k in ("date", "machine", "seconds", "given", "command")}
    assert [p.name for p in (folder / "chapter").iterdir()] == [f"run.{form}"]


def test_a_long_run_is_not_lost_to_a_wrong_label(folder):
    with pytest.raises(ValueError, match="has 4 labels") as failed:
        stored("chapter", "run", lambda: {"runs": RUNS}, mode="save",
               axes={"runs": AXES["runs"] | {"seed": range(4)}})
    assert "saved without axes" in failed.value.__notes__[0]
    assert np.array_equal(stored("chapter", "run", dict, mode="read")["runs"], RUNS)


def test_wrong_names_are_told_with_the_right_ones(folder):
    two = AXES | {"other": {"seed": range(3)}}
    run = stored("chapter", "run", lambda: {"runs": RUNS, "other": np.ones(3)}, mode="compute",
                 axes=two)
    assert np.array_equal(run.at(loss="fit"), RUNS[:, 0])  # only one array has a loss
    for said, wrong in {
        "has no axis 'los'; it has seed, loss, measure. Did you mean 'loss'": {"los": "gap"},
        "loss of 'runs' has no 'gaps'; it has 'fit', 'gap'. Did you mean 'gap'": {"loss": "gaps"},
        "seed of 'runs' has no 7; it has 0, 1, 2": {"seed": 7},
        "seed of 'runs' has no '0'": {"seed": "0"},
    }.items():
        with pytest.raises(KeyError, match=said):
            run.at("runs", **wrong)
    with pytest.raises(KeyError, match=r"arrays runs, other have the axes seed.*Name the array"):
        run.at(seed=0)
    with pytest.raises(KeyError, match="has no axis 'cost'; it has loss, measure, seed"):
        run.labels("cost")


@pytest.mark.parametrize("axes, said", [
    ({"run": {}}, "no array is called 'run'; there are runs"),
    ({"runs": {"seed": range(3)}}, "needs 3 axes; got 1: seed"),
    ({"runs": ["seed", "loss", "measure"]}, "must be a dictionary"),
    ({"runs": AXES["runs"] | {"loss": ["gap", "gap"]}}, "the same label twice"),
    ({"runs": AXES["runs"] | {"loss": [None, "gap"]}}, "a number or a text; got None"),
    ({"runs": AXES["runs"] | {"loss": "penalties"}}, "from an array 'penalties'"),
    ({"runs": {"the seed": range(3), "b": None, "c": None}}, "must be a Python name"),
])
def test_axes_that_do_not_fit_are_refused(folder, axes, said):
    with pytest.raises(ValueError, match=said):
        stored("chapter", "run", lambda: {"runs": RUNS}, mode="compute", axes=axes)
