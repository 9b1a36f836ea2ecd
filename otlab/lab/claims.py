"""Claimed and measured: the table that ends every chapter, and the data behind it."""

import datetime
import html
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import metadata

from otlab.core.stats import Interval
from otlab.lab.stored import Stored

MIME = "application/vnd.otlab.result+json"
SCHEMA = "otlab.claims/1"
VERDICTS = ("reproduced", "direction only", "not reproduced", "refuted", "not tested")
KINDS = ("paper", "ours")
SEEDS = 5
RULE = ("The rule: reproduced, when the 95 % interval lies wholly on the claimed side of no effect "
        "and holds the claimed number, if there is one, or lies beyond it; direction only, when "
        "it lies on that side but short of the number; refuted, when it lies wholly on the other "
        "side; not reproduced, when it cannot tell. A claim that two things are equal names its "
        "margin, and the whole interval must lie within; so must it for a bound. "
        f"Fewer than {SEEDS} seeds test nothing.")


def judge(*, holds: bool, direction: bool = False, opposite: bool = False) -> str:
    """The verdict from conditions, for claims that `judge_number` does not cover.

    Args:
        holds: the claim as stated lies where the measurement says, intervals included.
        direction: the effect has the claimed sign, but not the claimed size.
        opposite: the measurement shows the contrary, beyond its interval.
    """
    if holds:
        return "reproduced"
    if opposite:
        return "refuted"
    return "direction only" if direction else "not reproduced"


def judge_number(interval: Interval, number: float | None = None, *, null: float = 0.0,
                 direction: int | None = None) -> str:
    """The verdict on an effect of claimed sign and, maybe, size: the rule of every table.

    Args:
        interval: of the effect, over seeds.
        number: its claimed size; None when only a sign is claimed.
        null: the value that means no effect: 0 for a difference, 1 for a ratio.
        direction: +1 when the claim is "above null", −1 for "below"; taken from number if None.

    Returns:
        One of VERDICTS; "not tested" for too few seeds, and when the interval is the null
        itself, because one thing was compared with itself.

    Raises:
        ValueError: without a number and a direction, or when they contradict each other.
    """
    if direction is None and number is not None:
        direction = 1 if number > null else -1
    if direction not in (1, -1) or (number is not None and direction * (number - null) <= 0):
        raise ValueError(f"judge_number wants a direction, 1 or -1, and a number on that side of "
                         f"null={null}; got direction={direction}, number={number}.")
    near, far = sorted(direction * (edge - null) for edge in (interval.low, interval.high))
    if interval.n < SEEDS or near == far == 0:
        return "not tested"
    reached = number is None or far >= direction * (number - null)
    return judge(holds=near > 0 and reached, direction=near > 0, opposite=far < 0)


def judge_equal(interval: Interval, number: float, *, margin: float) -> str:
    """The verdict on "equal to number, to within margin": the interval lies inside, or outside."""
    low, high = interval.low - number, interval.high - number
    if interval.n < SEEDS or low == high == 0:
        return "not tested"
    return judge(holds=-margin <= low and high <= margin, opposite=low > margin or high < -margin)


def judge_bound(interval: Interval, *, at_least: float | None = None,
                at_most: float | None = None) -> str:
    """The verdict on "at least" or "at most": the whole interval on that side, or on the other."""
    if (at_least is None) == (at_most is None):
        raise ValueError(f"judge_bound wants one bound; got at_least={at_least}, "
                         f"at_most={at_most}.")
    if interval.n < SEEDS:
        return "not tested"
    if at_least is not None:
        return judge(holds=interval.low >= at_least, opposite=interval.high < at_least)
    return judge(holds=interval.high <= at_most, opposite=interval.low > at_most)


def quoted(interval: Interval) -> str:
    """An interval for a caption, "4.8 (4.3 to 5.2)"; in words where the seeds are too few."""
    if interval.n < SEEDS:
        return f"(not measured: {interval.n} seeds, and an interval needs {SEEDS})"
    return interval.with_ends


@dataclass(frozen=True)
class Claim:
    """One row: what a source says, and what came out here.

    claim: one sentence. source: page, table, equation, or number in our notes.
    claimed: the number or relation as stated there; no number that the verdict ignores.
    measured: an Interval, or text built from Intervals; None when not tested.
    verdict: one of VERDICTS, from `judge_number`, `judge_equal`, `judge_bound` or `judge`; never
        typed by hand unless "not tested".
    seeds: how many independent runs. note: what a careful reader should know.
    command: what would test it (or did, when it is too long for a page).
    kind: "paper" when a publication states it, "ours" when only our notes expect it.
    exact: True when one run is enough, for an identity that no seed can change.
    saved: the `stored` result behind it, if any; a run with other parameters says so.

    With fewer than SEEDS seeds the verdict becomes "not tested", whatever was judged.
    """

    claim: str
    source: str
    claimed: str
    measured: "Interval | str | None"
    verdict: str
    seeds: int = 0
    note: str = ""
    command: str = ""
    kind: str = "ours"
    exact: bool = False
    saved: Stored | None = None

    def __post_init__(self):
        if self.verdict not in VERDICTS or self.kind not in KINDS:
            raise ValueError(f"verdict is one of {', '.join(VERDICTS)} and kind one of "
                             f"{', '.join(KINDS)}; got {self.verdict!r}, {self.kind!r}. "
                             "Let judge(...) decide the verdict.")
        if self.measured is None:
            if self.verdict != "not tested":
                raise ValueError(f"claim {self.claim!r} has the verdict {self.verdict!r} but no "
                                 "measurement: pass measured=..., or verdict='not tested'.")
            if not self.command:
                raise ValueError(f"claim {self.claim!r} is not tested, so it must say the command "
                                 "that would test it: Claim(..., command='otlab run …').")
            return
        why = ""
        if not self.exact and self.seeds < SEEDS:
            why = f"Needs {SEEDS} seeds; run --budget page."
        elif self.verdict == "not tested":
            why = "Compares a thing with itself at these parameters."
        if why:
            object.__setattr__(self, "verdict", "not tested")
            object.__setattr__(self, "note", f"{why} {self.note}".strip())

    def data(self) -> dict:
        """The row as plain data."""
        interval = self.measured if isinstance(self.measured, Interval) else None
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "saved"}
        row |= {"measured": "–" if self.measured is None else str(self.measured),
                "mean": interval.mean if interval else None,
                "interval": [interval.low, interval.high] if interval else None,
                "stored": self.saved is not None and not self.saved.fresh}
        if row["stored"]:
            row |= {"run": self.saved.name, "parameters": self.saved.parameters,
                    "differs": sorted(self.saved.differs), "from": self.saved.label}
        return row


class ClaimsTable:
    """Claims as an HTML table for readers and as JSON for the book's page of all claims."""

    def __init__(self, chapter: str, claims: Sequence[Claim], footer: dict,
                 saved: Sequence[Stored] = ()):
        self.chapter, self.claims, self.footer = chapter, list(claims), footer
        self.saved = list(saved)

    def data(self) -> dict:
        """The rows and footer as plain data, schema otlab.claims/1."""
        rows = [{"number": k} | c.data() for k, c in enumerate(self.claims, 1)]
        return {"schema": SCHEMA, "chapter": self.chapter, "claims": rows, "footer": self.footer,
                "saved": self._saved()}

    def _saved(self) -> list[str]:
        """The whole stamp of every saved run behind the rows or the figures, once."""
        behind = [c.saved for c in self.claims if c.saved] + self.saved
        runs = {run.name: run for run in behind if not run.fresh}
        return [f"{name}: {run}" for name, run in runs.items()]

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {MIME: self.data(), "text/html": table_html(self.data()), "text/plain": str(self)}

    def __str__(self) -> str:
        return "\n".join(f"{r['number']}. {r['claim']}: claimed {r['claimed']}; measured "
                         f"{r['measured']}: {r['verdict']}" for r in self.data()["claims"])


def claims_table(claims: Sequence[Claim], *, chapter: str, seconds: float,
                 saved: Sequence[Stored] = ()) -> ClaimsTable:
    """The chapter's last cell: shows the rows and hands them to the runner and the book.

    Args:
        claims: rows, in the order of the sheet.
        chapter: the notebook's stem.
        seconds: wall time of the chapter's experiments.
        saved: saved runs that figures show and no row reads; the footer lists them as well.

    Raises:
        ValueError: when there are no rows.
    """
    if not claims:
        raise ValueError(f"chapter {chapter!r} has no claims; every claim on its sheet has a row.")
    return ClaimsTable(chapter, claims, footer(seconds), saved)


def footer(seconds: float) -> dict:
    """Versions, device, wall time and date, as printed under every table."""
    import jax

    device = jax.devices()[0]
    kind = f"{os.cpu_count()} CPU cores" if device.platform == "cpu" else device.device_kind
    names = ("otlab", "jax", "equinox", "ott-jax", "numpy")
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "device": f"{kind} ({platform.machine()})",
            "seconds": round(float(seconds), 1), "date": datetime.date.today().isoformat()}


def table_html(data: dict) -> str:
    """The table of one chapter as HTML with header cells and worded verdicts."""
    def cell(tag, text, **attributes):
        extra = "".join(f' {k}="{v}"' for k, v in attributes.items())
        return f'<{tag}{extra} style="text-align:left">{text}</{tag}>'  # JupyterLab's is right

    head = "".join(cell("th", h, scope="col")
                   for h in ("#", "Claim", "Claimed", "Measured", "Verdict"))
    body = []
    for r in data["claims"]:
        esc = {k: html.escape(str(v)) for k, v in r.items()}
        claim = f"{esc['claim']} <small>({esc['kind']}: {esc['source']})</small>"
        if r["note"]:
            claim += f"<br><small>{esc['note']}</small>"
        if r["command"]:
            claim += f"<br><code>{esc['command']}</code>"
        measured = esc["measured"] + (
            f" <small>({r['seeds']} seeds)</small>" if r["seeds"] > 1 else "")
        if r["stored"]:
            measured += f"<br><small>{esc['from']}</small>"
        slug = r["verdict"].replace(" ", "-")
        badge = f'<span class="otlab-verdict otlab-verdict-{slug}">{r["verdict"]}</span>'
        body.append("<tr>" + cell("th", r["number"], scope="row") + cell("td", claim)
                    + cell("td", esc["claimed"]) + cell("td", measured) + cell("td", badge)
                    + "</tr>")
    f = data["footer"]
    versions = ", ".join(f"{k} {v}" for k, v in f["versions"].items())
    saved = "".join(f"<br>Saved run {html.escape(stamp)}." for stamp in data["saved"])
    return (f'<table class="otlab-claims"><caption>Claimed and measured. Mean ± 95 % '
            f't-interval. <em>paper</em>: a publication says so; <em>ours</em>: only our notes '
            f'do.</caption><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody>'
            f'</table><p class="otlab-footer"><small>{RULE}</small></p>'
            f'<p class="otlab-footer"><small>{html.escape(versions)}; {html.escape(f["device"])}; '
            f'{f["seconds"]:.0f} s; {f["date"]}.{saved}</small></p>')
