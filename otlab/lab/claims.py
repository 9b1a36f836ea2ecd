"""Claimed and measured: the table that ends every chapter, and the data behind it."""

import datetime
import html
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata

from otlab.core.stats import Interval

MIME = "application/vnd.otlab.result+json"
SCHEMA = "otlab.claims/1"
VERDICTS = ("reproduced", "direction only", "not reproduced", "refuted", "not tested")


def judge(*, holds: bool, direction: bool = False, opposite: bool = False) -> str:
    """The verdict that follows from what was measured.

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


@dataclass(frozen=True)
class Claim:
    """One row: what a paper or sheet says, and what came out here.

    claim: one sentence. source: page, table, equation or sheet number.
    claimed: the number or relation as stated there.
    measured: an Interval, or text built from Intervals; None when not tested.
    verdict: one of VERDICTS, from `judge`; never typed by hand unless "not tested".
    seeds: how many independent runs. note: what a careful reader should know.
    command: what would test it (or did, when it is too long for a page).
    """

    claim: str
    source: str
    claimed: str
    measured: "Interval | str | None"
    verdict: str
    seeds: int = 0
    note: str = ""
    command: str = ""

    def __post_init__(self):
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict is one of {', '.join(VERDICTS)}; got {self.verdict!r}. "
                             "Let judge(...) decide it.")
        if self.verdict == "not tested" and not self.command:
            raise ValueError(f"claim {self.claim!r} is not tested, so it must say the command "
                             "that would test it: Claim(..., command='otlab run …').")
        if self.verdict != "not tested" and self.measured is None:
            raise ValueError(f"claim {self.claim!r} has the verdict {self.verdict!r} but no "
                             "measurement: pass measured=..., or verdict='not tested'.")


class ClaimsTable:
    """Claims as an HTML table for readers and as JSON for the book's page of all claims."""

    def __init__(self, chapter: str, claims: Sequence[Claim], footer: dict):
        self.chapter, self.claims, self.footer = chapter, list(claims), footer

    def data(self) -> dict:
        """The rows and footer as plain data, schema otlab.claims/1."""
        rows = []
        for number, c in enumerate(self.claims, 1):
            interval = c.measured if isinstance(c.measured, Interval) else None
            rows.append(asdict(c) | {
                "number": number,
                "measured": "–" if c.measured is None else str(c.measured),
                "mean": interval.mean if interval else None,
                "interval": [interval.low, interval.high] if interval else None,
            })
        return {"schema": SCHEMA, "chapter": self.chapter, "claims": rows, "footer": self.footer}

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {MIME: self.data(), "text/html": table_html(self.data()), "text/plain": str(self)}

    def __str__(self) -> str:
        return "\n".join(f"{r['number']}. {r['claim']}: claimed {r['claimed']}; measured "
                         f"{r['measured']}: {r['verdict']}" for r in self.data()["claims"])


def claims_table(claims: Sequence[Claim], *, chapter: str, seconds: float) -> ClaimsTable:
    """The chapter's last cell: shows the rows and hands them to the runner and the book.

    Args:
        claims: rows, in the order of the sheet.
        chapter: the notebook's stem.
        seconds: wall time of the chapter's experiments.

    Raises:
        ValueError: when there are no rows.
    """
    if not claims:
        raise ValueError(f"chapter {chapter!r} has no claims; every claim on its sheet has a row.")
    return ClaimsTable(chapter, claims, footer(seconds))


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
        claim = f"{esc['claim']} <small>({esc['source']})</small>"
        if r["note"]:
            claim += f"<br><small>{esc['note']}</small>"
        if r["command"]:
            claim += f"<br><code>{esc['command']}</code>"
        measured = esc["measured"] + (
            f" <small>({r['seeds']} seeds)</small>" if r["seeds"] > 1 else "")
        slug = r["verdict"].replace(" ", "-")
        badge = f'<span class="otlab-verdict otlab-verdict-{slug}">{r["verdict"]}</span>'
        body.append("<tr>" + cell("th", r["number"], scope="row") + cell("td", claim)
                    + cell("td", esc["claimed"]) + cell("td", measured) + cell("td", badge)
                    + "</tr>")
    f = data["footer"]
    versions = ", ".join(f"{k} {v}" for k, v in f["versions"].items())
    return (f'<table class="otlab-claims"><caption>Claimed and measured. Mean ± 95 % '
            f't-interval.</caption><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody>'
            f'</table><p class="otlab-footer"><small>{html.escape(versions)}; '
            f'{html.escape(f["device"])}; {f["seconds"]:.0f} s; {f["date"]}</small></p>')
