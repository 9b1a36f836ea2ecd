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

from otlab.core.files import aside
from otlab.lab import named_axes

MODES = ("read", "compute", "save", "resume")
FORMS = ("npz", "json")


@dataclass(frozen=True)
class Stored:
    """Arrays of one long run. values: name → array. stamp: command, date, machine, seconds.

    given: the reader's parameters; its text says where the saved run had others. name: the
    file's stem. axes: array → axis → labels, for the arrays that are read by name: `at`.
    """

    values: Mapping[str, np.ndarray]
    stamp: Mapping[str, object]
    given: Mapping[str, object] = field(default_factory=dict)
    name: str = ""
    axes: named_axes.Axes = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.values:
            raise KeyError(f"this result holds {', '.join(self.values)}; not {name!r}")
        return self.values[name]

    def at(self, array: str | None = None, /, **wanted):
        """What was measured there: ``run.at(seed=0, loss="gap", measure="error")``.

        Args:
            array: which array; not needed when one alone has these axes.
            wanted: axis = label. One label takes its axis away; a list of labels keeps it.

        Returns:
            A number or a text; with axes left over an array of them, in their order.

        Raises:
            KeyError: for an array, an axis or a label that is not there, with those that are.
        """
        name = self._holder(wanted) if array is None else array
        values = self[name]
        if name not in self.axes:
            raise KeyError(f"{name!r} of “{self.name}” has no named axes: read it by place, "
                           f"run[{name!r}], or give them names with stored(…, axes=…).")
        return named_axes.at(name, values, self.axes[name], wanted)

    def labels(self, axis: str) -> list:
        """The labels of an axis, in order; the same in every array that has it.

        Raises:
            KeyError: when no array has this axis, or two have it with other labels.
        """
        found = {name: axes[axis] for name, axes in self.axes.items() if axis in axes}
        if not found:
            known = sorted({a for axes in self.axes.values() for a in axes})
            raise KeyError(f"“{self.name}” has no axis {axis!r}; "
                           f"it has {', '.join(known) or 'none'}.")
        first = next(iter(found.values()))
        if any(labels != first for labels in found.values()):
            raise KeyError(f"{axis} has other labels in {', '.join(found)}: read run.axes.")
        return list(first)

    def _holder(self, wanted: Mapping) -> str:
        """The one array that has all the wanted axes."""
        fits = [name for name, axes in self.axes.items() if set(wanted) <= set(axes)]
        if len(fits) == 1 or (len(self.axes) == 1 and not fits):
            return next(iter(fits or self.axes))
        has = "; ".join(f"{name}: {', '.join(axes)}" for name, axes in self.axes.items())
        if not self.axes:
            raise KeyError(f"“{self.name}” has no named axes; it holds {', '.join(self.values)}.")
        which = f"arrays {', '.join(fits)} have" if fits else "no array has"
        raise KeyError(f"{which} the axes {', '.join(wanted) or '(none given)'}. Name the array "
                       f"first, run.at({next(iter(fits or self.axes))!r}, …). Arrays and their "
                       f"axes: {has}.")

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
           options: str = "", given: Mapping | None = None, form: str = "npz",
           axes: Mapping | None = None) -> Stored:
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
        axes: array → {axis: labels}, in the order of the array's axes, as `named_axes.resolve`
            takes them: ``{"runs": {"seed": seeds, "loss": list(LOSSES), "point": None}}``. They
            are saved with the arrays. A saved file's own axes stand; a file without any (see
            `label`) takes these, when they fit its shapes.

    Raises:
        ValueError: for another mode or form, or axes that do not fit.
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
        named = stamp.get("axes") or named_axes.resolve(axes or {}, values)
        found = Stored(values, stamp | {"fresh": False}, given, name, named)
        if mode == "read" or found.parameters == given:
            return found
    start = time.monotonic()
    values = {k: np.asarray(v) for k, v in compute().items()}
    stamp = {"command": command, "date": datetime.date.today().isoformat(),
             "machine": _machine(), "seconds": round(time.monotonic() - start, 1), "given": given}
    saves = mode in ("save", "resume")
    try:
        named = named_axes.resolve(axes or {}, values)
    except ValueError as error:
        if saves:  # a long run is not lost to a wrong label
            _write(path, values, stamp)
            error.add_note(f"{path.name} was saved without axes: give them with label(…).")
        raise
    if named:
        stamp["axes"] = named
    if saves:
        _write(path, values, stamp)
    return Stored(values, stamp | {"fresh": True}, given, name, named)


def label(chapter: str, name: str, axes: Mapping, *, form: str = "npz") -> Stored:
    """Give a saved result named axes without computing it again: arrays and stamp stay.

    Used once, at a prompt, for a file saved before its axes had names, or to rename them::

        from otlab.lab.stored import label
        label("monge_gap", "plateau", {"alone": {"seed": range(5)}})

    Args:
        chapter: the notebook's stem. name: the file's stem. form: "npz" or "json".
        axes: array → {axis: labels}, as `stored` takes them; they replace what stood there.

    Raises:
        ValueError: for axes that do not fit the saved shapes.
        FileNotFoundError: when nothing was saved under that name.
    """
    path = results_folder() / chapter / f"{name}.{form}"
    values, stamp = _read(path)
    stamp["axes"] = named_axes.resolve(axes, values)
    _write(path, values, stamp)
    return Stored(values, stamp | {"fresh": False}, {}, name, stamp["axes"])


def _write(path: Path, values: Mapping[str, np.ndarray], stamp: Mapping) -> None:
    """Arrays and stamp, whole or not at all."""
    with aside(path) as part:
        if path.suffix == ".json":
            lists = {k: v.tolist() for k, v in values.items()}
            text = json.dumps({"stamp": stamp} | lists, ensure_ascii=False, indent=0)
            part.write_text(text, "utf-8")
        else:
            with part.open("wb") as file:
                np.savez_compressed(file, stamp=json.dumps(stamp), **values)


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
