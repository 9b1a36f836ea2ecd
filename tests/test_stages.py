"""What `make test` runs, what CI adds to it, and what both say they left out."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def runner():
    """tools/run_tests.py, so that its very options are tested."""
    spec = importlib.util.spec_from_file_location("run_tests", ROOT / "tools" / "run_tests.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_stage_reads_every_notebook():
    stages = {stage.name: stage for stage in runner().stages()}
    here = {p.relative_to(ROOT).as_posix() for p in (ROOT / "notebooks").rglob("*.ipynb")
            if ".ipynb_checkpoints" not in p.parts}
    assert here and here <= set(stages["nbval"].command)
    assert stages["nbval"].environment["OTLAB_BUDGET"] == "smoke"


def test_a_failing_stage_makes_the_whole_fail(monkeypatch, capsys):
    module = runner()
    ran = []

    def stage(name, code):
        return module.Stage(name, name, [sys.executable, "-c", f"raise SystemExit({code})"])

    monkeypatch.setattr(module, "stages", lambda: [stage("one", 0), stage("two", 3),
                                                   stage("three", 0)])
    real = module.run
    monkeypatch.setattr(module, "run", lambda s: ran.append(s.name) or real(s))
    assert module.main([]) == 1
    assert ran == ["one", "two", "three"]
    assert "FAILED: two" in capsys.readouterr().out
    assert module.main(["--only", "one"]) == 0


def test_every_test_belongs_to_a_stage():
    """What the unit stage leaves to others, by folder or by marker, they run."""
    module = runner()
    stages = {stage.name: stage for stage in module.stages()}
    unit, deep = stages["unit"].command, stages["deep"].command
    left = {part.removeprefix("--ignore=") for part in unit if part.startswith("--ignore=")}
    assert left == {"tests/book", "tests/benchmarks", "tests/deep"}
    assert "tests/book" in stages["browser"].command
    assert "tests/benchmarks" in stages["bench"].command
    assert unit[unit.index("not deep") - 1] == deep[deep.index("deep") - 1] == "-m"
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")
             if path.parent.name == "deep" or "\n@pytest.mark.deep\n" in path.read_text("utf-8")}
    assert files == {part for part in deep if part.startswith("tests/")}


def test_what_is_left_out_is_said(monkeypatch, capsys):
    module = runner()
    monkeypatch.setattr(module, "run", lambda stage: (True, 1.0))
    assert module.main([]) == 0
    said = capsys.readouterr().out.split("Left out")[1]
    assert "make test-all" in said and "page: " in said
    assert "deep: " in said and "test_nbval" in said
    assert module.main(["--all"]) == 0
    said = capsys.readouterr().out
    assert "Left out" not in said and "deep" in said and "page" in said


@pytest.fixture
def repository(tmp_path):
    """A checkout with two deep tests, a module that one of them uses, and an old first commit."""
    files = {
        "otlab/__init__.py": "", "otlab/core/__init__.py": "", "otlab/core/costs.py": "x = 1\n",
        "otlab/core/other.py": "x = 1\n", "tests/support/kills.py": "x = 1\n",
        "notebooks/results/reflow/long.json": "{}", "requirements.lock": "",
        "tests/deep/test_one.py": "def test_it():\n    from otlab.core import costs\n",
        "tests/deep/test_two.py": 'import kills\nCHAPTER = "reflow"\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    commit(tmp_path, "2001-01-01T00:00:00")
    return tmp_path


def git(folder, *arguments, **environment):
    own = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
           "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True,
                   env=os.environ | own | environment)


def commit(folder, date=None):
    when = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date} if date else {}
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x", **when)


def chosen(repository):
    module = runner()
    files = sorted((repository / "tests" / "deep").glob("test_*.py"))
    return [p.stem for p in module.touched_deep_tests(repository, files)]


@pytest.mark.parametrize("changed, wanted", [
    ("tests/deep/test_two.py", ["test_two"]), ("otlab/core/costs.py", ["test_one"]),
    ("otlab/core/other.py", []), ("tests/support/kills.py", ["test_two"]),
    ("notebooks/results/reflow/long.json", ["test_two"]),
    ("requirements.lock", ["test_one", "test_two"])])
@pytest.mark.parametrize("committed", [True, False])
def test_ci_takes_the_deep_tests_that_recent_work_touches(repository, changed, wanted, committed):
    assert chosen(repository) == [], "an old commit touches nothing"
    (repository / changed).write_text((repository / changed).read_text() + "# changed\n")
    if committed:
        commit(repository)
    assert chosen(repository) == wanted


def test_ci_takes_every_deep_test_where_git_cannot_tell(repository, tmp_path_factory, monkeypatch):
    shallow = tmp_path_factory.mktemp("shallow") / "clone"
    commit_two = repository / "tests" / "note.md"
    commit_two.write_text("x")
    commit(repository, "2001-01-02T00:00:00")
    git(repository, "clone", "-q", "--depth", "1", repository.as_uri(), str(shallow))
    assert chosen(repository) == [] and chosen(shallow) == ["test_one", "test_two"]
    monkeypatch.setenv("PATH", "")
    assert chosen(repository) == ["test_one", "test_two"]


def test_ci_bounds_the_deep_stage(monkeypatch):
    module = runner()
    files = module.deep_tests()
    assert files
    monkeypatch.setattr(module, "touched_deep_tests", lambda root, files: files[:1])
    stages = module.chosen_stages(module.argparse.Namespace(only=None, all=False, ci=True))
    deep = stages[-1]
    assert deep.name == "deep" and f"--deep-seconds={module.DEEP_SECONDS}" in deep.command
    assert [p for p in deep.command if p.startswith("tests/")] == [str(files[0].relative_to(ROOT))]
    rest = next(line for line in module.left_out(stages) if line.startswith("deep"))
    assert files[-1].stem in rest and files[0].stem not in rest.split(", ")


DEEP = """
import time, pytest

@pytest.mark.MARK
@pytest.mark.parametrize("n", range(3))
def test_it(n):
    time.sleep(0.2)
""".replace("MARK", "deep")


def test_no_deep_test_begins_late(tmp_path):
    """The tests' own set-up, on three deep tests of 0.2 s and a limit of 0.1 s."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_three.py").write_text(DEEP)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  deep: x\n  gpu: x\n")
    run = [sys.executable, "-m", "pytest", "-q", "-rs", str(tmp_path), "-p", "no:cacheprovider"]
    done = subprocess.run([*run, "--deep-seconds=0.1"], capture_output=True, text=True,
                          cwd=tmp_path)
    assert "1 passed, 2 skipped" in done.stdout and "make test-all" in done.stdout, done.stdout
