"""nbval, as `make test` calls it, catches a broken cell and a wrong output, and keeps the rest."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]


def runner():
    """tools/run_tests.py, so that its very options are tested."""
    spec = importlib.util.spec_from_file_location("run_tests", ROOT / "tools" / "run_tests.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def small():
    """A notebook with one cell that checks itself and one whose output is compared."""
    checked = new_code_cell("# NBVAL_CHECK_OUTPUT\nprint('total', total)", execution_count=2,
                            outputs=[new_output("stream", name="stdout", text="total 6\n")])
    checked.metadata.tags = ["keep_output"]
    nb = new_notebook(cells=[
        new_markdown_cell("# A small one"),
        new_code_cell("total = sum([1, 2, 3])\nassert total == 6", execution_count=1), checked])
    nb.metadata.kernelspec = {"name": "some-other-kernel", "display_name": "Other",
                              "language": "python"}
    return nb


def nbval(folder: Path, *notebooks) -> subprocess.CompletedProcess:
    """The nbval stage of `make test` on these notebooks."""
    names = []
    for i, nb in enumerate(notebooks):
        nbformat.write(nb, folder / f"notebook_{i}.ipynb")
        names.append(f"notebook_{i}.ipynb")
    command = [*runner().NBVAL, "-c", os.devnull, f"--rootdir={folder}",
               "-o", f"cache_dir={folder / 'cache'}", *names]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    clean["OTLAB_BUDGET"] = "smoke"
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180,
                          env=clean)


def test_a_broken_cell_and_a_wrong_output_are_caught_and_nothing_else(tmp_path):
    """They name a kernel that is not installed: this interpreter runs them all the same."""
    good, broken, wrong = small(), small(), small()
    broken.cells[1].source = broken.cells[1].source.replace("== 6", "== 7")
    wrong.cells[2].outputs[0].text = "total 7\n"
    done = nbval(tmp_path, good, broken, wrong)
    assert done.returncode == 1, done.stdout
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert not any("notebook_0" in line for line in failed)
    assert any("notebook_1" in line for line in failed)
    assert any("notebook_2" in line for line in failed)
    assert "AssertionError" in done.stdout
    assert "total 7" in done.stdout and "total 6" in done.stdout


def test_what_passed_is_kept_with_its_outputs_and_what_failed_is_not(tmp_path):
    good, broken = small(), small()
    good.cells.append(new_code_cell(
        "from IPython.display import display\n"
        "display({'application/vnd.otlab.result+json': {'claims': [{'claim': 'a', 'verdict': "
        "'reproduced'}]}, 'text/plain': 'a table'}, raw=True)\ntotal", execution_count=3))
    good.cells.append(new_code_cell("# NBVAL_SKIP\nraise ValueError('never run')"))
    broken.cells[1].source = broken.cells[1].source.replace("== 6", "== 7")
    kept = tmp_path / "_build" / "smoke" / "chapters"
    (kept / "notebook_1").mkdir(parents=True)
    (kept / "notebook_1" / "fingerprint").write_text("of a run before")
    nbval(tmp_path, good, broken)
    assert sorted(p.name for p in (kept / "notebook_0").iterdir()) == [
        "fingerprint", "notebook.ipynb", "result.json"]
    assert not (kept / "notebook_1").exists()
    executed = nbformat.read(kept / "notebook_0" / "notebook.ipynb", as_version=4)
    nbformat.validate(executed)
    outputs = [cell.outputs for cell in executed.cells if cell.cell_type == "code"]
    assert outputs[1][0].text == "total 6\n" and outputs[0] == outputs[3] == []
    assert [o.output_type for o in outputs[2]] == ["display_data", "execute_result"]
    assert outputs[2][1].data["text/plain"] == "6"
    result = json.loads((kept / "notebook_0" / "result.json").read_text())
    assert (result["status"], result["budget"]) == ("ok", "smoke")
    assert [c["claim"] for c in result["claims"]] == ["a"]
    assert result["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "CPU" in result["device"]
    sys.path.insert(0, str(ROOT))
    from otlab.lab.execution.fingerprint import fingerprint

    assert (kept / "notebook_0" / "fingerprint").read_text() == fingerprint(
        tmp_path, tmp_path / "notebook_0.ipynb", "smoke")


def test_a_copy_of_a_real_notebook_with_a_broken_cell_is_caught(tmp_path):
    source = min((ROOT / "notebooks").rglob("*.ipynb"), key=lambda p: p.stat().st_size)
    nb = nbformat.read(source, as_version=4)
    first = next(i for i, cell in enumerate(nb.cells) if cell.cell_type == "code")
    nb.cells = nb.cells[:first + 1]
    nb.cells[first].source += "\nassert 1 + 1 == 3, 'put here by a test'"
    done = nbval(tmp_path, nb)
    assert done.returncode == 1, done.stdout
    assert "put here by a test" in done.stdout
