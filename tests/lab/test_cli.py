"""The command line: what it prints, its exit codes, one sentence for each mistake."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_chapters import CLAIM, write_chapter

from otlab.lab.cli import main
from otlab.lab.execution import chapters as places


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_chapter(tmp_path / "chapters", "if n == 13: raise ValueError('unlucky')", CLAIM)
    monkeypatch.setenv("OTLAB_NOTEBOOKS", str(tmp_path / "chapters"))
    monkeypatch.delenv("OTLAB_BUDGET", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_shows_title_summary_minutes_and_parameters(folder, capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert "tiny  (3 min)" in said and "A tiny chapter" in said and "Says little." in said
    assert "epsilon = 0.1    float; units of std(C)" in said
    assert "budget = 'page'  str; smoke | page" in said


def test_list_of_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OTLAB_NOTEBOOKS", str(tmp_path))
    assert main(["list"]) == 0 and "no chapters in" in capsys.readouterr().out
    monkeypatch.setenv("OTLAB_NOTEBOOKS", str(tmp_path / "gone"))
    assert main(["list"]) == 2 and "which is not a folder" in capsys.readouterr().err


def test_run_twice_keeps_both(folder, capsys):
    assert main(["run", "tiny", "-p", "n=6", "--budget", "smoke", "--out", "out",
                 "--no-html"]) == 0
    said = capsys.readouterr()
    assert "half of n: 3.0 (reproduced)" in said.out
    assert "[4/4] Work" in said.err and "\x1b" not in said.err  # plain lines: not a terminal
    before = (folder / "out" / "result.json").read_bytes()
    assert main(["run", "tiny", "-p", "n=13", "--out", "out"]) == 1
    said = capsys.readouterr()
    assert "out already holds something, which stays; this run goes to out-2" in said.err
    assert "failed in code cell 3 under 'Work'" in said.err and "FAILED" in said.err
    assert (folder / "out" / "result.json").read_bytes() == before
    assert sorted(p.name for p in (folder / "out-2").iterdir()) == [
        "notebook.ipynb", "page.html", "result.json"]


@pytest.mark.parametrize("arguments, said", [
    (["run", "tinny"], "no chapter 'tinny'; did you mean 'tiny'"),
    (["run", "gone.ipynb"], "there is no notebook at gone.ipynb"),
    (["run", "tiny", "-p", "epsilo=1"], "no parameter 'epsilo'; did you mean 'epsilon'"),
    (["run", "tiny", "-p", "n=x"], "n wants a whole number, such as n=4; got x"),
    (["run", "tiny", "-p", "n"], "name=value"),
    (["run", "tiny", "--budget", "paper"], "budget is one of smoke, page; got 'paper'"),
    (["run", "tiny", "--out", "file"], "--out file is a file; name a folder"),
    (["sweep", "tiny"], "needs a grid"),
    (["sweep", "tiny", "--grid", "n=1,b"], "n wants a whole number"),
    (["sweep", "tiny", "--grid", "n=1", "--workers", "0"], "--workers wants at least 1; got 0"),
    (["sweep", "tiny", "--grid", "n=1", "--out", "file"], "--out file is a file"),
    (["lab", "--port", "0"], "--port wants a number from 1 to 65535; got 0"),
])
def test_failure_is_one_sentence_and_code_two(folder, capsys, arguments, said):
    (folder / "file").touch()
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("otlab: ") and said in shown.err and shown.out == ""
    assert shown.err.count("\n") == 1
    assert [p.name for p in folder.iterdir() if p.name not in ("chapters", "file")] == []


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["lab", "--port", "x"]])
def test_failure_of_usage_is_code_two(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and "usage: otlab" in capsys.readouterr().err


def test_without_notebooks_it_says_where_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OTLAB_NOTEBOOKS", raising=False)
    monkeypatch.setattr(places, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 2
    assert "run otlab inside a checkout" in capsys.readouterr().err


def test_book_hands_over_to_the_build(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "jupyter_book").mkdir()
    monkeypatch.setattr("otlab.lab.execution.chapters.root", lambda: tmp_path)
    assert main(["book"]) == 2  # no build.py yet
    (tmp_path / "jupyter_book" / "build.py").write_text(
        "import sys, pathlib\npathlib.Path(sys.argv[2]).write_text('built')\nsys.exit(3)")
    assert main(["book", "--out", str(tmp_path / "seen")]) == 3
    assert (tmp_path / "seen").read_text() == "built"


def test_version(capsys):
    assert main(["version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("otlab 0") and "\njax " in said and "\npython 3" in said


def test_help_and_list_load_nothing_heavy(folder):
    code = ("import sys; from otlab.lab.cli import main\n"
            "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
            "heavy = {'jax', 'numpy', 'rich', 'nbformat', 'papermill', 'distributed', 'torch',"
            " 'matplotlib', 'pandas', 'jupyterlab'} & set(sys.modules)\nsys.exit(f'{heavy}' if"
            " heavy else 0)")
    for command in ("--help", "list", "version"):
        done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True)
        assert done.returncode == 0, f"otlab {command} loads {done.stderr}"
        assert "otlab" in done.stdout or "tiny" in done.stdout


def test_the_installed_command_is_this_one():
    from importlib.metadata import entry_points

    script, = entry_points(group="console_scripts", name="otlab")
    assert script.load() is main and Path(sys.executable).with_name("otlab").exists()
