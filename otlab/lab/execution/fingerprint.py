"""What a chapter's run depends on, and a hash of it: a run that would end the same is not repeated.

The hash covers the chapter's code cells, the modules of otlab that they reach through imports at
any depth (those inside functions and inside scripts for other processes too), the data files
beside these modules, the chapter's own folder in notebooks/results, and the locked versions. It
does not cover prose, style sheets, JavaScript, or a module that the chapter does not reach.
"""

import ast
import functools
import hashlib
import json
import re
import sys
import textwrap
from pathlib import Path

RECORD = "record.json"  # made by a run, so not part of what it depends on
NOT_RUN = {".py", ".pyc", ".js", ".css"}  # beside a module: not its data


def code_cells(notebook: Path) -> list[str]:
    """The text of each code cell, in order."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def source_hash(notebook: Path) -> str:
    """Hash of what a chapter runs: its code cells, parameters among them, as they are written.

    Prose, outputs, tags, blank lines and lines that hold a comment alone do not count.
    """
    lines = [line.rstrip() for cell in code_cells(notebook) for line in [*cell.splitlines(), ""]
             if not line.lstrip().startswith("#")]
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()


def fingerprint(root: Path, notebook: Path, budget: str) -> str:
    """Hash of all that a run of this notebook depends on.

    Args:
        root: the checkout.
        notebook: its path, inside the checkout.
        budget: the one that the run is asked for.
    """
    total = hashlib.sha256(f"{budget} {sys.version_info[:2]} run/2".encode())
    for cell in code_cells(notebook):
        total.update(cell.encode() + b"\0")
    for path in dependencies(root, notebook):
        total.update(path.relative_to(root).as_posix().encode() + b"\0")
        total.update(path.read_bytes() + b"\0")
    return total.hexdigest()


def dependencies(root: Path, notebook: Path) -> list[Path]:
    """The files that a run reads beside the notebook itself, in a fixed order."""
    modules = reached(root, code_cells(notebook))
    results = root / "notebooks" / "results" / notebook.stem
    saved = {p for p in results.rglob("*") if p.is_file() and p.name != RECORD}
    lock = root / "requirements.lock"
    return sorted(modules | _data_beside(modules) | saved | ({lock} if lock.is_file() else set()))


def reached(root: Path, cells: list[str]) -> set[Path]:
    """Modules of otlab that these cells import, directly or through other modules.

    A name that a room offers without being a module of it leads to the modules that define it,
    or, where none does, to the whole room.
    """
    package, found = Package(root), set()
    waiting = {path for cell in cells for path in package.named_in(_plain(cell), strings=True)}
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting |= package.imported_by(path) - found
    return found


class Package:
    """The modules of otlab in a checkout, by dotted name."""

    def __init__(self, root: Path):
        self.paths = {}
        for path in (root / "otlab").rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            self.paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        self.names = {path: name for name, path in self.paths.items()}

    def imported_by(self, path: Path) -> set[Path]:
        """What one module imports."""
        name = self.names[path]
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        return self.named_in(_read(path), package)

    def named_in(self, source: str, package: str = "", strings: bool = False) -> set[Path]:
        """Modules that the imports of a source lead to. strings: also imports in its texts."""
        found = set()
        for node in _walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found |= self._lead(alias.name)
            elif isinstance(node, ast.ImportFrom):
                parents = package.split(".")[:len(package.split(".")) - node.level + 1]
                base = ".".join([*(parents if node.level else []),
                                 *([node.module] if node.module else [])])
                for alias in node.names:
                    found |= self._lead(f"{base}.{alias.name}")
            elif strings and isinstance(node, ast.Constant) and "otlab" in str(node.value):
                found |= self._in_text(str(node.value))
        return found

    def _in_text(self, text: str) -> set[Path]:
        try:
            return self.named_in(_plain(textwrap.dedent(text)))
        except SyntaxError:
            names = re.findall(r"\botlab(?:\.\w+)+", text)
            return {path for name in names for path in self._lead(name)}

    def _lead(self, name: str) -> set[Path]:
        parts = name.split(".")
        if parts[0] != "otlab":
            return set()
        known = next(i for i in range(len(parts), -1, -1) if ".".join(parts[:i]) in self.paths
                     or i == 0)
        if known == 0:
            return set()
        found = {self.paths[".".join(parts[:i])] for i in range(1, known + 1)
                 if ".".join(parts[:i]) in self.paths}
        module = self.paths[".".join(parts[:known])]
        if module.name != "__init__.py" or known == 1:
            return found
        room = {path for path in self.paths.values() if module.parent in path.parents}
        if known == len(parts):  # the room itself: anything may be taken from it
            return found | room
        defining = {path for path in room if parts[known] in _defined(path)}
        return found | (defining or room)


def _walk(tree: ast.AST):
    """Every node but those under `if TYPE_CHECKING`, which never run."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _plain(cell: str) -> str:
    """A cell as Python: magics become comments."""
    return re.sub(r"^(\s*)([%!])", r"\1# \2", cell, flags=re.M)


def _read(path: Path) -> str:
    return path.read_text("utf-8")


@functools.lru_cache(maxsize=1024)
def _names_at_top(source: str) -> frozenset[str]:
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return frozenset(names)


def _defined(path: Path) -> frozenset[str]:
    return _names_at_top(_read(path))


def _data_beside(modules: set[Path]) -> set[Path]:
    """Files beside these modules, and in folders there that are no packages, that are no code."""
    found = set()
    for folder in {path.parent for path in modules}:
        inner = [d for d in folder.iterdir() if d.is_dir() and not list(d.glob("*.py"))
                 and d.name != "__pycache__"]
        candidates = [*folder.iterdir(), *(p for d in inner for p in d.rglob("*"))]
        found |= {p for p in candidates if p.is_file() and p.suffix not in NOT_RUN}
    return found
