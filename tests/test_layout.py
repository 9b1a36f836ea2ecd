"""The plan of the house: who may import whom, what stands where."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "otlab"
ROOMS = sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file())
METHODS = [room for room in ROOMS if room not in ("core", "lab")]
# room -> other parts of otlab that it may import: the floors below it
PAPERS = {"core", "learning", "couplings", "language"}
ALLOWED = {"core": set(), "language": {"core"}, "learning": {"core"}, "lab": {"core"},
           "couplings": {"core", "learning"}, "steering": {"core", "language"},
           "flows": PAPERS - {"language"}, "representation": PAPERS, "training": PAPERS}
# what a room may not import at all, wherever in a module
NEVER = {room: {"matplotlib", "plotly", "ipywidgets", "anywidget", "IPython", "papermill"}
         for room in [*METHODS, "core"]}
TORCH_ROOMS = {"language", "steering", "training"}
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))


def imports(source: str, package: str = "") -> list[str]:
    """Dotted names that a module imports, at any depth, relative ones made absolute."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[:len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            found += [base] + [f"{base}.{alias.name}" for alias in node.names]
    return found


def crossings(room: str, names: list[str]) -> set[str]:
    """Imports of a room that point the wrong way."""
    bad = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "otlab" and len(parts) > 1 and parts[1] in ROOMS:
            if parts[1] != room and parts[1] not in ALLOWED[room]:
                bad.add(name)
        if parts[0] in NEVER.get(room, ()) or parts[0] == "tests":
            bad.add(name)
        if parts[0] == "torch" and room not in TORCH_ROOMS | {"lab"}:
            bad.add(name)
    return bad


def offenders(rule, paths) -> dict[str, list[str]]:
    """Every file that breaks a rule, with what the rule says about it."""
    said = {str(path.relative_to(ROOT)): rule(path) for path in paths}
    return {name: lines for name, lines in said.items() if lines}


def wrong_imports(path: Path) -> list[str]:
    """Imports of a module that its room may not have."""
    parts = path.relative_to(PACKAGE).parts
    names = imports(path.read_text("utf-8"), ".".join(("otlab", *parts[:-1])))
    if len(parts) == 1:  # the package's own modules import nothing heavy
        heavy = {"jax", "torch", "matplotlib", "numpy"} | {f"otlab.{room}" for room in ROOMS}
        return sorted(heavy & set(names))
    return sorted(crossings(parts[0], names))


def test_imports_point_down_only():
    assert MODULES
    assert offenders(wrong_imports, MODULES) == {}


def test_the_arrows_can_fail():
    assert crossings("core", imports("from otlab.flows import paths"))
    assert crossings("couplings", imports("def f():\n    import matplotlib.pyplot as plt"))
    assert crossings("couplings", imports("from ..lab import figures", "otlab.couplings"))
    assert crossings("flows", imports("import torch"))
    assert not crossings("flows", imports("from ..couplings import sinkhorn", "otlab.flows"))


@pytest.mark.parametrize("statement", ["import otlab", "import otlab.lab.cli"])
def test_importing_is_light(statement):
    heavy = ["jax", "torch", "matplotlib", "pandas", "plotly"]
    code = f"import sys; {statement}; print(*(m for m in {heavy} if m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


def faults(source: str, name: str = "module.py") -> list[str]:
    """What a module of the package may not be: long, silent about itself, a stub, a hush."""
    tree, lines = ast.parse(source), len(source.splitlines())
    said = [f"{lines} lines, more than 300: it may hold two ideas"] if lines > 300 else []
    if source.strip() and not ast.get_docstring(tree):
        said.append("no module docstring")
    if name in ("utils.py", "helpers.py"):
        said.append("its name says nothing")
    said += [f"a stub: {word}" for word in
             re.findall(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", source)]
    return said + [f"a bare except on line {n.lineno}" for n in ast.walk(tree)
                   if isinstance(n, ast.ExceptHandler) and n.type is None]


def test_modules_say_what_they_are_stay_short_and_hide_nothing():
    assert offenders(lambda p: faults(p.read_text("utf-8"), p.name), MODULES) == {}


@pytest.mark.parametrize("source, name", [
    ('"""A."""\n' + "x = 1\n" * 300, "m.py"), ("x = 1", "m.py"), ('"""A."""', "utils.py"),
    ('"""A."""\nraise NotImplementedError', "m.py"), ('"""A."""  # TODO', "m.py"),
    ('"""A."""\ntry:\n    x\nexcept:\n    y', "m.py")])
def test_each_fault_of_a_module_is_seen(source, name):
    assert len(faults(source, name)) == 1
    assert faults('"""A."""\nx = 1\n') == []


def toc_files() -> list[str]:
    found = []

    def walk(entry):
        if isinstance(entry, dict):
            found.extend(entry[key] for key in ("root", "file") if key in entry)
            for key in ("parts", "chapters", "sections"):
                walk(entry.get(key))
        elif isinstance(entry, list):
            for item in entry:
                walk(item)

    walk(yaml.safe_load((ROOT / "jupyter_book" / "_toc.yml").read_text()))
    return found


def test_every_notebook_is_in_the_table_of_contents_once():
    files = toc_files()
    here = {str(p.relative_to(ROOT).with_suffix("")) for p in (ROOT / "notebooks").rglob("*.ipynb")
            if ".ipynb_checkpoints" not in p.parts}
    listed = [f for f in files if f.startswith("notebooks/")]
    assert sorted(listed) == sorted(here)
    assert len(files) == len(set(files))


def test_every_page_of_the_table_of_contents_is_there():
    book = ROOT / "jupyter_book"
    for name in toc_files():
        if name.startswith("api/"):
            assert name == "api/index" or name.removeprefix("api/") in ROOMS
        elif not name.startswith("notebooks/"):
            assert (book / f"{name}.md").is_file(), name


def test_every_room_has_its_reference_page():
    rooms = {name.removeprefix("api/") for name in toc_files() if name.startswith("api/")}
    assert rooms - {"index"} == {room for room in ROOMS if room_has_modules(room)}


def room_has_modules(room: str) -> bool:
    return any(p.name != "__init__.py" for p in (PACKAGE / room).glob("*.py"))


def untested(room: str) -> set[str]:
    """Modules that no test of the room reaches: by name, or through a module that uses them."""
    tests = "".join(p.read_text() for p in (ROOT / "tests" / room).rglob("test_*.py"))
    modules = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p.read_text()
               for p in (PACKAGE / room).rglob("*.py") if p.stem != "__init__"}
    tested = {name for name in modules if re.search(rf"\b{name.split('.')[-1]}\b", tests)}
    grown = True
    while grown:
        used = {name for module in tested for name in imports(modules[module])} & set(modules)
        grown = not used <= tested
        tested |= used
    return set(modules) - tested


def test_every_module_of_a_room_is_tested():
    assert {room: untested(room) for room in METHODS if untested(room)} == {}


MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|tmp/[a-z])[/\w.-]*|[A-Z]:\\\\")
TEXTS = [p for folder in ("otlab", "tests", "tools", "jupyter_book", "notebooks", "binder",
                          ".github", ".ci", "findings")
         for p in (ROOT / folder).rglob("*")
         if p.suffix in {".py", ".md", ".yml", ".yaml", ".ipynb", ".sh", ".js", ".css", ".toml"}
         and not {"__pycache__", "_build", ".ipynb_checkpoints", ".cache"} & set(p.parts)]


def machine_paths(path: Path) -> list[str]:
    """The first three absolute paths that a file names."""
    return [m[0] for m in MACHINE.finditer(path.read_text("utf-8"))][:3]


def test_no_path_of_one_machine(tmp_path):
    assert offenders(machine_paths, [p for p in TEXTS if p != Path(__file__).resolve()]) == {}
    (tmp_path / "a.md").write_text("see /home/me/x.csv")
    assert machine_paths(tmp_path / "a.md") == ["/home/me/x.csv"]


def test_no_stray_settings():
    assert not list(ROOT.glob("setup.py")) and not list(ROOT.glob("setup.cfg"))
    for name in ("README.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md",
                 "Makefile", "pyproject.toml", "requirements.lock", "environment.yml"):
        assert (ROOT / name).is_file(), name


def test_the_makefile_has_each_target_and_says_what_it_does():
    text = (ROOT / "Makefile").read_text()
    targets = ["help", "lab", "test", "test-all", "setup", "book", "bench", "lock", "clean"]
    assert [t for t in targets if not re.search(rf"^{t}:.*## \w", text, re.M)] == []


def missing_of(chapter: Path) -> list[str]:
    """What a chapter's stem should name and does not."""
    room, stem = chapter.parent.name, chapter.stem
    places = {"module": (f"otlab/{room}/{stem}.py", f"otlab/{room}/{stem}"),
              "checks": (f"otlab/lab/checks/{stem}.py",),
              "results": (f"notebooks/results/{stem}",),
              "test": (f"tests/{room}/test_{stem}.py", f"tests/{room}/{stem}"),
              "test of its checks": (f"tests/lab/checks/test_{stem}.py",)}
    return [f"{what}: {' or '.join(paths)}" for what, paths in places.items()
            if not any((ROOT / path).exists() for path in paths)]


def test_the_stem_of_a_chapter_names_its_module_checks_results_and_tests():
    chapters = [ROOT / f"{name}.ipynb" for name in toc_files()
                if name.startswith("notebooks/") and name.count("/") == 2]
    assert len(chapters) > 10
    assert offenders(missing_of, chapters) == {}
    assert len(missing_of(ROOT / "notebooks" / "flows" / "nothing.ipynb")) == 5


def test_the_readme_names_every_chapter():
    text = (ROOT / "README.md").read_text("utf-8")
    chapters = {f"{name}.ipynb" for name in toc_files() if name.startswith("notebooks/")}
    assert chapters - set(re.findall(r"notebooks/[\w/]+\.ipynb", text)) == set()


def absent_paths(page: Path) -> list[str]:
    """Paths that a page for contributors names and that do not exist."""
    named = re.findall(r"`((?:otlab|tests|tools|notebooks|jupyter_book|findings)/[\w./-]*)`",
                       page.read_text("utf-8"))
    mine = {path for path in named if "my_" not in path and "_build" not in path}
    return sorted(path for path in mine if not (ROOT / path).exists())


def test_paths_that_the_pages_name_exist(tmp_path):
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "findings/README.md")]
    assert offenders(absent_paths, pages) == {}
    (tmp_path / "a.md").write_text("see `otlab/nothing.py`")
    assert absent_paths(tmp_path / "a.md") == ["otlab/nothing.py"]
