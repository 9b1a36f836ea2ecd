"""What a run leaves behind: result.json, and the claims, findings and numbers of its cells."""

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otlab.lab.execution.parameters import LabError

MIME = "application/vnd.otlab.result+json"
SCHEMA = "otlab.run/1"
FILES = ("notebook.ipynb", "page.html", "result.json")


class RunFailed(LabError):
    """A chapter did not run to its end; its text says which cell and why."""


@dataclass(frozen=True)
class RunResult:
    """One run of a chapter.

    parameters: every parameter, defaults included. budget: the one that was used.
    seconds: wall time of the cells. status: ok, failed or interrupted.
    claims, found: rows of every claims table (schema otlab.claims/2), in order.
    scalars: numbers by name, from outputs that carry ``{"scalars": {...}}``.
    error: cell (its number among the code cells), heading, line, name, message; None when ok.
    out: the folder with notebook.ipynb, page.html and result.json; None when nothing was kept.
    """

    chapter: str
    parameters: dict[str, Any]
    budget: str | None
    versions: dict[str, str]
    device: str
    seconds: float
    date: str
    status: str
    claims: list[dict] = field(default_factory=list)
    found: list[dict] = field(default_factory=list)
    scalars: dict[str, float] = field(default_factory=dict)
    error: dict | None = None
    out: Path | None = None
    notebook: Any = field(default=None, repr=False)

    def data(self) -> dict:
        """Plain data, as written to result.json (schema otlab.run/1)."""
        names = ("chapter", "parameters", "budget", "versions", "device", "seconds", "date",
                 "status", "claims", "found", "scalars", "error")
        values = {"schema": SCHEMA} | {name: getattr(self, name) for name in names}
        return {k: v for k, v in values.items() if k != "error" or v}

    def require_ok(self) -> "RunResult":
        """Return self, or raise RunFailed saying which cell failed and why."""
        if self.status != "ok":
            raise RunFailed(self.sentence())
        return self

    def sentence(self) -> str:
        """One line for the end of a run."""
        if self.status == "ok":
            count, found = len(self.claims), len(self.found)
            return (f"{self.chapter}: {self.seconds:.1f} s, {count or 'no'} "
                    f"claim{'' if count == 1 else 's'}{f', {found} found' if found else ''}.")
        if self.error is None:
            return f"{self.chapter} was {self.status} after {self.seconds:.1f} s."
        e = self.error
        where = f" under '{e['heading']}'" if e["heading"] else ""
        return (f"{self.chapter} {self.status} in code cell {e['cell']}{where}, "
                f"which begins `{e['line']}`: {e['name']}: {e['message']}")


def gather(nb) -> tuple[list[dict], list[dict], dict[str, float]]:
    """Claims, findings and scalars in the outputs of a notebook, in the order of its cells."""
    claims, found, scalars = [], [], {}
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get(MIME)
            if isinstance(data, str):
                data = json.loads(data)
            if isinstance(data, dict):
                claims += data.get("claims", [])
                found += data.get("found", [])
                scalars |= data.get("scalars", {})
    return claims, found, scalars


def read_result(folder: Path) -> dict | None:
    """result.json of a folder; None when there is none or it was cut short."""
    try:
        return json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside `path`, then rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def dumps(data: Any) -> str:
    """JSON for people and tools: indented, readable letters, NaN as null."""
    return json.dumps(_plain(data), indent=1, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
        return value
    return None if isinstance(value, float) else value
