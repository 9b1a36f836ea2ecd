"""Long runs, run once: small results on disk with the command, date and machine behind them."""

import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MODES = ("read", "compute", "save", "resume")
FORMS = ("npz", "json")


@dataclass(frozen=True)
class Stored:
    """Arrays of one long run. values: name → array. stamp: command, date, machine, seconds.

    given: the reader's parameters; its text says where the saved run had others. name: the
    file's stem.
    """

    values: Mapping[str, np.ndarray]
    stamp: Mapping[str, object]
    given: Mapping[str, object] = field(default_factory=dict)
    name: str = ""

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.values:
            raise KeyError(f"this result holds {', '.join(self.values)}; not {name!r}")
        return self.values[name]

    @property
    def fresh(self) -> bool:
        """Whether it was computed in this very run."""
        return bool(self.stamp["fresh"])

    @property
    def parameters(self) -> dict:
        """What it was computed with, as far as the run read the reader's parameters."""
        return dict(self.stamp.get("given", {}))

    @property
    def differs(self) -> dict:
        """Parameters by name that the saved run had other than yours: (saved, yours)."""
        return {name: (value, self.given[name]) for name, value in self.parameters.items()
                if name in self.given and self.given[name] != value}

    @property
    def label(self) -> str:
        """A few words for a table: which saved run, and where its parameters are not yours."""
        if self.fresh:
            return "computed just now"
        return ", ".join(filter(None, (f"saved run “{self.name}”", self._other())))

    @property
    def brief(self) -> str:
        """The label for a caption; the claims table prints the whole stamp, once."""
        return self.label if self.fresh else f"{self.label}; see the last note"

    def __str__(self) -> str:
        s = self.stamp
        how = "computed just now" if s["fresh"] else f"saved on {s['date']}"
        other = self._other()
        return (f"{how} ({s['command']}; {s['seconds']:.0f} s on {s['machine']}"
                f"{'; ' + other if other else ''})")

    def _other(self) -> str:
        return ", ".join(f"with {name} = {saved!r}, not your {yours!r}"
                         for name, (saved, yours) in self.differs.items())


def results_folder() -> Path:
    """notebooks/results of the checkout: found from the working folder upward, then beside otlab.

    Raises:
        FileNotFoundError: when otlab runs without a checkout and OTLAB_RESULTS is not set.
    """
    if os.environ.get("OTLAB_RESULTS"):
        return Path(os.environ["OTLAB_RESULTS"])
    here = Path.cwd().resolve()
    for root in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (root / "notebooks" / "results").is_dir():
            return root / "notebooks" / "results"
    raise FileNotFoundError("notebooks/results was not found from this folder upward. Run inside "
                            "a checkout of OT Lab, or set OTLAB_RESULTS to that folder.")


def stored(chapter: str, name: str, compute: Callable[[], Mapping], *, mode: str,
           options: str = "", given: Mapping | None = None, form: str = "npz") -> Stored:
    """The result of `compute`: read from disk, computed now, or computed and saved.

    Args:
        chapter: the notebook's stem; the folder under notebooks/results.
        name: what was run, e.g. "digits"; the file's stem.
        compute: returns name → array (numbers, lists and numpy or jax arrays).
        mode: "read" what a long run left, "compute" without saving, "save", or "resume": read
            what an earlier run left with the same `given`, compute and save the rest.
        options: further options of the command that makes it, such as "-p images=mnist".
        given: the parameters that `compute` reads; a saved run with others says so.
        form: "npz", or "json" for texts, which a reader may want to open.

    Raises:
        ValueError: for another mode or form.
        FileNotFoundError: in mode "read" when nothing was saved, with the command that would.
    """
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}; got {mode!r}.")
    if form not in FORMS:
        raise ValueError(f"form is one of {', '.join(FORMS)}; got {form!r}.")
    given = dict(given or {})
    path = results_folder() / chapter / f"{name}.{form}"
    command = " ".join(f"otlab run {chapter} --budget long {options}".split())
    if mode == "read" and not path.exists():
        raise FileNotFoundError(f"no saved result {chapter}/{path.name}; `{command}` makes it.")
    if mode == "read" or (mode == "resume" and path.exists()):
        values, stamp = _read(path)
        found = Stored(values, stamp | {"fresh": False}, given, name)
        if mode == "read" or found.parameters == given:
            return found
    start = time.monotonic()
    values = {k: np.asarray(v) for k, v in compute().items()}
    stamp = {"command": command, "date": datetime.date.today().isoformat(),
             "machine": _machine(), "seconds": round(time.monotonic() - start, 1), "given": given}
    if mode in ("save", "resume"):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".partial.{form}")
        if form == "json":
            lists = {k: v.tolist() for k, v in values.items()}
            partial.write_text(json.dumps({"stamp": stamp} | lists, ensure_ascii=False, indent=0),
                               "utf-8")
        else:
            np.savez_compressed(partial, stamp=json.dumps(stamp), **values)
        partial.replace(path)
    return Stored(values, stamp | {"fresh": True}, given, name)


def _read(path: Path) -> tuple[dict, dict]:
    """Arrays by name, and the stamp."""
    if path.suffix == ".json":
        values = json.loads(path.read_text("utf-8"))
        return {k: np.asarray(v) for k, v in values.items() if k != "stamp"}, values["stamp"]
    with np.load(path) as file:
        values = {k: file[k] for k in file.files}
    return values, json.loads(str(values.pop("stamp")))


def _machine() -> str:
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"
