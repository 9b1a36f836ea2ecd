"""Rooms offer what their modules define: found by tab completion, loaded at first use.

A room's own modules and folders come first. Where one has the name of something that it defines
(`monge_gap`, `progot`), the room gives the module, which holds the function under that name again:
``from otlab.couplings.progot import progot``. A name that several modules define (`fit`) is left
to them: the room says where it is. Sources are read as text, so that looking loads nothing.
"""

import difflib
import importlib
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

PUBLIC = re.compile(r"^(?:def|class) ([A-Za-z]\w*)", re.MULTILINE)


def offer(room: str, folders: list[str]) -> tuple[Callable, Callable]:
    """(__getattr__, __dir__) for a room's ``__init__``, given its ``__name__`` and ``__path__``."""
    found: dict[str, list[str]] = {}

    def names() -> dict[str, list[str]]:
        if not found:
            found.update(contents(room, Path(folders[0])))
        return found

    def get(name: str):
        if name.startswith("_") or name not in names():
            near = [] if name.startswith("_") else difflib.get_close_matches(name, found, 3)
            raise AttributeError(f"{room} has no {name!r}"
                                 + (f"; did you mean {', '.join(near)}?" if near else "."))
        homes = found[name]
        if len(homes) > 1:
            raise AttributeError(f"{name!r} is in {', '.join(homes)}; import it from one of them.")
        module = importlib.import_module(homes[0])
        return module if homes[0] == f"{room}.{name}" else getattr(module, name)

    def look() -> list[str]:
        return sorted(name for name, homes in names().items() if len(homes) == 1)

    return get, look


def rooms(package: str, folders: list[str]) -> tuple[Callable, Callable]:
    """(__getattr__, __dir__) for the package itself, which offers its rooms and nothing else."""
    names = sorted(path.parent.name for path in Path(folders[0]).glob("*/__init__.py"))

    def get(name: str):
        if name not in names:
            raise AttributeError(f"{package} has no {name!r}; its rooms are {', '.join(names)}.")
        return importlib.import_module(f"{package}.{name}")

    return get, lambda: [*names, "__version__"]


def contents(room: str, folder: Path) -> dict[str, list[str]]:
    """Each name that a room offers, and the modules that hold it: itself, when it is a module."""
    homes = defaultdict(list)
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        module = ".".join((room, *parts))
        if parts:
            for name in PUBLIC.findall(path.read_text("utf-8")):
                homes[name].append(module)
    children = {p.stem for p in folder.iterdir() if not p.name.startswith(("_", "."))
                and (p.suffix == ".py" or (p / "__init__.py").is_file())}
    return dict(homes) | {name: [f"{room}.{name}"] for name in children}
