"""A sweep as one tidy table, in Parquet and CSV, and as a plot."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otlab.lab.execution.chapters import Chapter
from otlab.lab.execution.result import read_result, write_atomically

PANELS = 6
NUMBERS = ("seconds", "value", "low", "high")


def write_table(out: Path, chapter: Chapter, swept: tuple[str, ...],
                points: Mapping[str, Mapping[str, Any]], *, plot: bool = True
                ) -> tuple[str, ...]:
    """Write table.parquet, table.csv, plot.png and plot.svg; returns the names written.

    Each row is one run and one claim, finding or number: run, the parameters, status, seconds,
    kind (claim, found, scalar or run), number, metric, value, low, high, measured, verdict,
    stored, error. A claim read from a saved run is stored; where that run had other parameters
    than the point, nothing was measured there, and value, low, high, measured and verdict are
    empty. A run without claims or numbers has one row of kind "run". Points not run yet are left
    out.
    """
    import pandas as pd

    rows = [row for key, point in points.items() for row in _rows(out, key, point)]
    table = pd.DataFrame(rows)
    for name in NUMBERS:
        if name in table:
            table[name] = table[name].astype("float64")
    if table.empty:
        return ()
    table["number"] = table["number"].astype("Int64")
    for name in chapter.parameters:  # lists and mixed values as text: one type per column
        if table[name].map(type).nunique() > 1 or isinstance(table[name].iloc[0], list | dict):
            table[name] = table[name].map(str)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomically(out / "table.parquet", buffer.getvalue())
    write_atomically(out / "table.csv", table.to_csv(index=False))
    names = ["table.parquet", "table.csv"]
    for kind, data in (_plots(table, chapter, swept) if plot else {}).items():
        write_atomically(out / f"plot.{kind}", data)
        names.append(f"plot.{kind}")
    return tuple(names)


def _rows(out: Path, key: str, point: Mapping[str, Any]) -> list[dict]:
    result = read_result(out / "runs" / key)
    if result is None:
        return []
    error = result.get("error")
    head = {"run": key, **point, "status": result["status"], "seconds": result["seconds"]}
    tail = {"error": f"{error['name']}: {error['message']}" if error else ""}
    rows = []
    claims = [row | {"kind": "claim"} for row in result.get("claims", [])]
    claims += [row | {"kind": "found", "claim": row["found"], "verdict": row["standing"]}
               for row in result.get("found", [])]
    for claim in claims:
        if claim.get("differs"):
            claim = claim | {"interval": None, "mean": None, "measured": "", "verdict": ""}
        low, high = claim.get("interval") or (None, None)
        rows.append({"kind": claim["kind"], "number": claim["number"],
                     "metric": claim["claim"],
                     "value": _number(claim.get("mean", claim.get("measured"))), "low": low,
                     "high": high, "measured": str(claim.get("measured", "")),
                     "verdict": claim.get("verdict", ""),
                     "stored": bool(claim.get("stored", False))})
    for name, value in result.get("scalars", {}).items():
        rows.append({"kind": "scalar", "number": None, "metric": name, "value": _number(value),
                     "low": None, "high": None, "measured": str(value), "verdict": "",
                     "stored": False})
    rows = rows or [{"kind": "run", "number": None, "metric": "seconds", "low": None,
                     "high": None, "value": _number(result["seconds"]), "measured": "",
                     "verdict": "", "stored": False}]
    return [head | row | tail for row in rows]


def _number(value: Any) -> float:
    """A plain number; NaN for anything else (a measurement in words)."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _plots(table, chapter: Chapter, swept: tuple[str, ...]) -> dict[str, bytes]:
    """plot.png and plot.svg: each metric that was measured against the first numeric parameter."""
    done = table[(table["status"] == "ok") & ~table["stored"]]
    measured = done[done["kind"] != "run"].dropna(subset=["value"])
    measured = measured if len(measured) else done
    if measured.empty:
        return {}
    import matplotlib

    matplotlib.use("agg", force=False)
    from matplotlib.figure import Figure

    from otlab.lab.figures import style

    along = next((n for n in swept if chapter.parameters[n].type in ("int", "float")), swept[0])
    others = [n for n in swept if n != along]
    metrics = list(dict.fromkeys(measured["metric"]))[:PANELS]
    with style(), matplotlib.rc_context({"axes.titleweight": "normal"}):
        columns = min(len(metrics), 2)
        lines = math.ceil(len(metrics) / columns)
        figure = Figure(figsize=(4.6 * columns, 3.2 * lines), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis, metric in zip(axes, metrics, strict=False):
            _panel(axis, measured[measured["metric"] == metric], along, others)
            axis.set_title(metric if len(metric) < 60 else f"{metric[:57]}…")
        for axis in axes[len(metrics):]:
            axis.set_visible(False)
        figure.suptitle(chapter.title)
        files = {}
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, **({"dpi": 150} if kind == "png" else
                                                   {"metadata": {"Date": None}}))
            files[kind] = buffer.getvalue()
    return files


def _panel(axis, rows, along: str, others: list[str]) -> None:
    """One metric: a line, with its interval, for each combination of the other parameters."""
    from otlab.lab.figures import COLOURS, MARKS

    roles = list(COLOURS)
    groups = rows.groupby(others, sort=True) if others else [((), rows)]
    numeric = all(isinstance(v, int | float) for v in rows[along])
    ticks = list(dict.fromkeys(rows[along]))
    for index, (values, group) in enumerate(groups):
        group = group.sort_values(along) if numeric else group
        x = group[along] if numeric else [ticks.index(v) for v in group[along]]
        role = roles[index % len(roles)]
        dash = ["-", "--", ":"][index // len(roles) % 3]
        values = values if isinstance(values, tuple) else (values,)
        label = ", ".join(f"{n} = {v:.4g}" if isinstance(v, float) else f"{n} = {v}"
                          for n, v in zip(others, values, strict=True))
        axis.plot(x, group["value"], dash, color=COLOURS[role], marker=MARKS[role], ms=5,
                  label=label)
        spread = group.dropna(subset=["low", "high"])
        if len(spread):
            at = spread[along] if numeric else [ticks.index(v) for v in spread[along]]
            axis.fill_between(at, spread["low"].astype(float), spread["high"].astype(float),
                              color=COLOURS[role], alpha=0.15, lw=0)
    axis.set_xlabel(along)
    if numeric and min(ticks) > 0 and max(ticks) / min(ticks) > 20:
        axis.set_xscale("log")
    if not numeric:
        axis.set_xticks(range(len(ticks)), [str(t) for t in ticks])
    if others:
        axis.legend(fontsize=8)
