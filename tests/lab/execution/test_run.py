"""One chapter, run: what it leaves, how it fails, and that a warm kernel forgets."""

import ast
import json
import os
import re
import signal
import time

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_chapters import CLAIM, otlab, wait_for, write_chapter

from otlab.lab.execution import kernels
from otlab.lab.execution.chapters import Chapter, ChapterError, chapters, find_chapter
from otlab.lab.execution.page import page
from otlab.lab.execution.parameters import Parameter, ParameterError
from otlab.lab.execution.result import RunFailed, dumps
from otlab.lab.execution.run import execute, free_folder, prepare

SURPRISE = """
import os, time
if n == 13:
    # the comment is not the first line
    raise ValueError("unlucky " + str(n))
if n == 14:
    print("before the long wait", flush=True); time.sleep(600)
if n == 15:
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_chapter(tmp_path / "room", "print('epsilon', epsilon)", SURPRISE, CLAIM)
    monkeypatch.setenv("OTLAB_NOTEBOOKS", str(tmp_path))
    monkeypatch.delenv("OTLAB_BUDGET", raising=False)
    return tmp_path


@pytest.fixture
def no_kernel(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a kernel was started")
    monkeypatch.setattr(kernels.Kernel, "__init__", refuse)


@pytest.fixture(scope="module", autouse=True)
def leave_no_kernel():
    yield
    kernels.stop_idle()


def text_of(cell):
    return "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "")
                   for o in cell.outputs)


def test_a_run_leaves_notebook_page_and_result(folder):
    events = []
    out = folder / "out {x}"  # papermill would format the braces
    result = execute("tiny", parameters={"epsilon": 1, "n": 6}, budget="smoke", out=out,
                     on_cell=events.append)
    assert result.require_ok() is result
    data = json.loads((out / "result.json").read_text())
    assert data["parameters"] == {"epsilon": 1.0, "n": 6, "budget": "smoke"}
    assert (data["status"], data["budget"], data["chapter"]) == ("ok", "smoke", "tiny")
    assert data["claims"][0]["mean"] == 3.0 and data["scalars"] == {"loss": 1.0}
    assert [row["found"] for row in data["found"]] == ["twice n"]
    assert data["versions"]["python"].startswith("3.") and "CPU" in data["device"]
    assert "error" not in data and data["seconds"] >= 0
    nb = nbformat.read(out / "notebook.ipynb", as_version=4)
    nbformat.validate(nb)
    assert "epsilon 1.0" in "".join(text_of(c) for c in nb.cells if c.cell_type == "code")
    assert "widgets" not in nb.metadata and str(folder) not in dumps(nb.metadata)
    ended = [(e.number, e.total, e.heading, e.state) for e in events if e.state != "running"]
    assert ended == [(1, 5, "A tiny chapter", "completed"), (2, 5, "A tiny chapter", "completed"),
                     *((i, 5, "Work", "completed") for i in (3, 4, 5))]
    html = (out / "page.html").read_text()
    assert "A tiny chapter" in html and "a table" in html and "a &lt; b" in html
    assert sorted(p.name for p in out.iterdir()) == ["notebook.ipynb", "page.html", "result.json"]


def test_a_failing_cell_leaves_the_part_that_ran_and_says_which(folder):
    out = folder / "out"
    result = execute("tiny", parameters={"n": 13}, out=out, warm=True)
    assert result.status == "failed"
    assert result.error == {"cell": 4, "heading": "Work", "line": "import os, time",
                            "name": "ValueError", "message": "unlucky 13"}
    with pytest.raises(RunFailed, match="code cell 4 under 'Work', which begins `import os, time`"
                                        ": ValueError: unlucky 13"):
        result.require_ok()
    nb = nbformat.read(out / "notebook.ipynb", as_version=4)
    code = [c for c in nb.cells if c.cell_type == "code"]
    assert "epsilon 0.1" in text_of(code[2]) and code[3].outputs[0].ename == "ValueError"
    assert code[3].execution_count == 4 and code[4].execution_count is None
    assert code[4].metadata.papermill.status == "pending"
    assert json.loads((out / "result.json").read_text())["status"] == "failed"
    assert "unlucky 13" in (out / "page.html").read_text()


def test_a_killed_kernel_and_a_slow_cell_are_failures_with_a_reason(folder):
    died = execute("tiny", parameters={"n": 15})
    assert died.status == "failed" and died.error["name"] == "KernelDied"
    assert died.error["cell"] == 4
    slow = execute("tiny", parameters={"n": 14}, timeout=1)
    assert slow.error["name"] == "CellTooSlow" and "1 second" in slow.error["message"]


@pytest.mark.parametrize("given_, said", [({"epsilom": 1}, "did you mean 'epsilon'"),
                                          ({"n": 1.5}, "n wants a whole number"),
                                          ({"n": "4"}, "n wants a whole number"),
                                          ({"budget": "paper"}, "one of smoke, page")])
def test_failure_of_parameters_comes_before_the_kernel(folder, no_kernel, given_, said):
    with pytest.raises(ParameterError, match=said):
        execute("tiny", parameters=given_)


def test_failure_of_a_chapter_names_the_nearest(folder, no_kernel):
    with pytest.raises(ChapterError, match="no chapter 'tinny'; did you mean 'tiny'"):
        execute("tinny")
    with pytest.raises(ChapterError, match="no notebook at .*gone.ipynb"):
        execute(folder / "gone.ipynb")
    (folder / "room" / "broken.ipynb").write_text("{")
    with pytest.raises(ChapterError, match="broken.ipynb is not a version-4 notebook"):
        find_chapter("tiny")


def test_chapters_are_notebooks_with_parameters(folder):
    plain = json.loads((folder / "room" / "tiny.ipynb").read_text())
    for cell in plain["cells"]:
        cell["metadata"] = {}
    (folder / "start_here.ipynb").write_text(json.dumps(plain))
    write_chapter(folder / "room" / ".ipynb_checkpoints", name="tiny-checkpoint")
    write_chapter(folder / "room", name="another", prose="No heading.")
    assert list(chapters()) == ["another", "tiny"]
    tiny = chapters()["tiny"]
    assert (tiny.title, tiny.summary, tiny.minutes) == ("A tiny chapter", "Says little.", 3)
    assert chapters()["another"].title == "another"
    write_chapter(folder / "other", name="tiny")
    with pytest.raises(ChapterError, match="two chapters are called 'tiny'"):
        chapters()


def test_the_book_sets_the_order(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        write_chapter(tmp_path / "notebooks", name=name)
    (tmp_path / "jupyter_book").mkdir()
    (tmp_path / "jupyter_book" / "_toc.yml").write_text(
        "root: intro\nparts:\n- chapters:\n  - file: ../notebooks/c\n  - file: 'x/b.ipynb'\n")
    monkeypatch.setenv("OTLAB_NOTEBOOKS", str(tmp_path / "notebooks"))
    assert list(chapters()) == ["c", "b", "a"]


def test_invariant_nothing_is_injected_for_defaults(folder):
    chapter = find_chapter("tiny")
    defaults = {p.name: p.default for p in chapter.parameters.values()}
    assert len(prepare(chapter, defaults).cells) == 6
    nb = prepare(chapter, defaults | {"n": 5})
    assert nb.cells[2].source.endswith("n = 5\n") and "epsilon" not in nb.cells[2].source


LITERAL = st.one_of(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(),
                    st.integers(), st.none(), st.tuples(st.text(), st.integers()))


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.one_of(LITERAL, st.lists(LITERAL)),
                       min_size=1))
def test_oracle_injected_values_are_read_back_as_they_were(tmp_path_factory, values):
    path = write_chapter(tmp_path_factory.getbasetemp() / "inject",
                         parameters="a = b = c = None".replace(" = ", " = None\n", 2))
    known = {name: Parameter(name, object(), "any") for name in "abc"}
    nb = prepare(Chapter("inject", path, "", "", 0, known), values)
    read = {}
    for node in ast.parse(nb.cells[2].source).body:
        read[node.targets[0].id] = ast.literal_eval(node.value)
    assert read == values and repr(read) == repr(values)


def test_a_kernel_that_cannot_be_wiped_is_not_kept(tmp_path):
    hidden = write_chapter(tmp_path, "m = __import__('j' + 'ax'); import os; print(os.getpid())")
    kernels.stop_idle()
    runs = [text_of(execute(hidden, warm=True).notebook.cells[-1]) for _ in range(2)]
    assert runs[0] != runs[1]


LEAK = """
import os, sys, warnings, random
import jax, numpy, matplotlib
import matplotlib.pyplot as plt
seen = sorted({"mine", "In_use"} & set(globals())), os.getcwd(), os.environ.get("LEAK"), \\
    "leak" in sys.path, jax.config.jax_enable_x64, matplotlib.rcParams["lines.linewidth"], \\
    len(plt.get_fignums()), random.random() == 0.8444218515250481, len(Out)
print(seen)
print(os.getpid())
mine = In_use = 1
os.environ["LEAK"] = "1"; os.chdir("/"); sys.path.append("leak")
jax.config.update("jax_enable_x64", True); matplotlib.rcParams["lines.linewidth"] = 9
fig = plt.figure(); random.seed(0)
if n == 13: raise ValueError
"""


def test_invariant_a_warm_kernel_forgets_and_is_reused(tmp_path):
    path = write_chapter(tmp_path, LEAK)
    kernels.stop_idle()
    runs = [execute(path, parameters={"n": n}, warm=True).notebook for n in (4, 13, 4)]
    lines = [text_of(nb.cells[-1]).splitlines()[:2] for nb in runs]
    assert lines[0][0] == str(([], str(tmp_path), None, False, False, 1.5, 0, False, 0))
    assert lines[0] == lines[1] == lines[2]  # the same process saw the same, thrice
    assert [nb.cells[-1].execution_count for nb in runs] == [2, 3, 2]  # 3: one was injected


def test_the_page_asks_no_other_host_and_shows_maths_and_figures():
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_markdown_cell(
        "# T\n\n$$\nx < \\epsilon\n$$ (eq-one)\n\n`$code$` and {ref}`there <x>`, "
        "[](../a/my_page.md), [this](b.ipynb#c), [out](https://example.org/x.md)\n\n"
        "```{tip} Try\n:class: dropdown\nbe *bold*\n```"), nbformat.v4.new_code_cell("1")]
    figure = '<figure class="otlab-explore" id="e"><script type="application/json">{"a": "<"}' \
             "</script></figure>"
    nb.cells[1].outputs = [nbformat.v4.new_output("display_data", {
        "text/html": figure, "text/plain": "x",
        "application/vnd.jupyter.widget-view+json": {"model_id": "gone"}})]
    html = page(nb, "The title")
    outside = r"""(?:src|<link[^>]*href|url|import)\s*[=(]\s*["']?(?:https?:)?//"""
    assert not re.findall(outside, html)
    assert "default-src 'none'" in html and "<title>The title</title>" in html
    assert '<span class="math display tex">x &lt; \\epsilon</span>' in html
    assert "katex.render" in html and "<code>$code$</code>" in html and "eq-one" not in html
    assert figure in html and "otlabExplore" in html and "gone" not in html
    assert "<strong>Try</strong>" in html and "<em>bold</em>" in html and "dropdown" not in html
    assert "there, my page, this, <a" in html and "{ref}" not in html
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T")])
    assert "katex" not in page(plain, "T") and "otlabExplore" not in page(plain, "T")
    plain.cells += [nbformat.v4.new_markdown_cell("shown to all"),
                    nbformat.v4.new_markdown_cell("not shown", metadata={"tags": ["remove-cell"]})]
    assert "shown to all" in page(plain, "T") and "not shown" not in page(plain, "T")


def test_a_folder_with_content_is_left_alone(tmp_path):
    assert free_folder(tmp_path / "new" / "a") == tmp_path / "new" / "a"
    (tmp_path / "new" / "a" / "mine.txt").write_text("keep")
    assert free_folder(tmp_path / "new" / "a") == tmp_path / "new" / "a-2"
    with pytest.raises(RunFailed, match="mine.txt is a file"):
        free_folder(tmp_path / "new" / "a" / "mine.txt")
    with pytest.raises(RunFailed, match="cannot be made"):
        free_folder(tmp_path / "new" / "a" / "mine.txt" / "below")


def test_numbers_that_json_lacks_become_null():
    assert json.loads(dumps({"a": [float("nan"), float("inf"), 1.5, True]})) == {
        "a": [None, None, 1.5, True]}


def test_a_stopped_run_keeps_the_cells_that_ran_and_says_so(folder):
    """As Ctrl-C would between two cells; the signal itself is tested in the stage deep."""
    def stop(event):
        if event.number == 4 and event.state == "running":       # 2 sets the budget
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute("tiny", budget="smoke", out=folder / "out", on_cell=stop)
    data = json.loads((folder / "out" / "result.json").read_text())
    assert data["status"] == "interrupted" and data["error"]["name"] == "KeyboardInterrupt"
    nb = nbformat.read(folder / "out" / "notebook.ipynb", as_version=4)
    assert "epsilon 0.1" in "".join(map(text_of, (c for c in nb.cells if c.cell_type == "code")))


@pytest.mark.deep
@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a process group")
@pytest.mark.parametrize("background", [False, True])
def test_ctrl_c_or_kill_leaves_the_cells_that_ran(folder, background):
    out = folder / "out"
    process = otlab("run", "tiny", "-p", "n=14", "--out", "out", "--no-html", notebooks=folder,
                    cwd=folder, background=background)
    wait_for(process, lambda: "epsilon 0.1" in (out / "notebook.ipynb").read_text())
    time.sleep(0.5)  # into the long cell
    os.killpg(process.pid, signal.SIGTERM if background else signal.SIGINT)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 130 and "the cells that ran are in out" in said, said
    assert "Traceback" not in said and "never retrieved" not in said
    data = json.loads((out / "result.json").read_text())
    assert data["status"] == "interrupted" and data["error"]["cell"] == 4
    nb = nbformat.read(out / "notebook.ipynb", as_version=4)
    assert "before the long wait" in text_of(nb.cells[-2])
