"""The two tables that end every chapter, and the data behind them."""

import datetime
import html
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata

from otlab.core.stats import Interval
from otlab.lab.claims.rows import Claim, Found
from otlab.lab.claims.rule import RULE, SEEDS
from otlab.lab.stored import Stored

MIME = "application/vnd.otlab.result+json"
SCHEMA = "otlab.claims/2"
MOST_FOUND = 10


def quoted(interval: Interval) -> str:
    """An interval for a caption, "4.8 (4.3 to 5.2)"; in words where the seeds are too few."""
    if interval.n < SEEDS and interval.kind != "exact":
        return f"(not measured: {interval.n} seeds, and an interval needs {SEEDS})"
    return interval.with_ends


class ClaimsTable:
    """Claims and findings as HTML for readers and as JSON for the book's page of all claims."""

    def __init__(self, chapter: str, claims: Sequence[Claim], found: Sequence[Found], footer: dict,
                 saved: Sequence[Stored] = ()):
        self.chapter, self.footer, self.saved = chapter, footer, list(saved)
        self.claims, self.found = list(claims), list(found)

    def data(self) -> dict:
        """The rows and footer as plain data, schema otlab.claims/2."""
        claims, found = ([{"number": k} | row.data() for k, row in enumerate(rows, 1)]
                         for rows in (self.claims, self.found))
        return {"schema": SCHEMA, "chapter": self.chapter, "claims": claims, "found": found,
                "footer": self.footer, "saved": self._saved()}

    def _saved(self) -> list[str]:
        """The whole stamp of every saved run behind the rows or the figures, once."""
        behind = [row.saved for row in (*self.claims, *self.found) if row.saved] + self.saved
        runs = {run.name: run for run in behind if not run.fresh}
        return [f"{name}: {run}" for name, run in runs.items()]

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {MIME: self.data(), "text/html": tables_html(self.data()), "text/plain": str(self)}

    def __str__(self) -> str:
        data = self.data()
        return "\n".join([
            *(f"{r['number']}. {r['claim']}: claimed {r['claimed']}; measured {r['measured']}: "
              f"{r['verdict']}" for r in data["claims"]),
            *(f"{r['number']}. {r['found']}: {r['measured']}: {r['standing']}"
              for r in data["found"])])


def claims_table(claims: Sequence[Claim], *, chapter: str, seconds: float,
                 found: Sequence[Found] = (), saved: Sequence[Stored] = ()) -> ClaimsTable:
    """The chapter's last cell: shows both tables and hands them to the runner and the book.

    Args:
        claims: what publications claim, in the order of the chapter.
        chapter: the notebook's stem.
        seconds: wall time of the chapter's experiments.
        found: what we found ourselves, at most MOST_FOUND rows: the most interesting.
        saved: saved runs that figures show and no row reads; the footer lists them as well.

    Raises:
        ValueError: when there are no rows, or more findings than MOST_FOUND.
    """
    if not claims and not found:
        raise ValueError(f"chapter {chapter!r} has no rows: pass what its papers claim.")
    if len(found) > MOST_FOUND:
        raise ValueError(f"chapter {chapter!r} has {len(found)} findings, and a reader reads "
                         f"{MOST_FOUND}: keep the most interesting.")
    if not all(isinstance(row, Claim) for row in claims) or not all(
            isinstance(row, Found) for row in found):
        raise TypeError("claims are Claim(…) and found are Found(…).")
    return ClaimsTable(chapter, claims, found, footer(seconds), saved)


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


def intervals_in(rows: Sequence[Mapping]) -> int:
    """How many intervals the rows hold, those of fresh seeds included; what is exact has none."""
    fresh = [row["confirmed_by"] for row in rows if row.get("confirmed_by")]
    return sum(part["kind"] != "exact" for row in [*rows, *fresh] for part in row["parts"])


def expected_misses(intervals: int) -> str:
    """How many of so many 95 % intervals miss what they estimate, on average."""
    return f"{0.05 * intervals:.1f}" if intervals < 60 else f"{0.05 * intervals:.0f}"


def badge(word: str) -> str:
    """A verdict or a standing in words, coloured by its class."""
    slug = word.replace(" ", "-")
    return f'<span class="otlab-verdict otlab-verdict-{slug}">{html.escape(word)}</span>'


def claims_html(rows: Sequence[Mapping], *, caption: str = "", classes: str = "") -> str:
    """"Claimed and measured": one line a claim, with header cells and worded verdicts."""
    lines = [(r["number"], _sentence(r["claim"], r, source=r["source"]), _text(r["claimed"]),
              _measured(r), badge(r["verdict"])) for r in rows]
    heads = ("#", "Claim", "Claimed", "Measured", "Verdict")
    return _table(heads, lines, caption, f"otlab-claims {classes}".strip())


def found_html(rows: Sequence[Mapping], *, caption: str = "", classes: str = "") -> str:
    """"Found here": one line a finding, with its standing."""
    lines = []
    for r in rows:
        measured = _measured(r)
        if r.get("confirmed_by"):
            measured += f"<br>fresh seeds: {_measured(r['confirmed_by'])}"
        lines.append((r["number"], _sentence(r["found"], r, source=f"stands if {r['shows']}"),
                      measured, badge(r["standing"])))
    return _table(("#", "Found", "Measured", "Standing"), lines, caption,
                  f"otlab-claims otlab-found {classes}".strip())


def footer_html(f: Mapping, saved: Sequence[str] = ()) -> str:
    """Versions, device, seconds, date and the stamps of saved runs."""
    versions = ", ".join(f"{k} {v}" for k, v in f["versions"].items())
    stamps = "".join(f"<br>Saved run {html.escape(stamp)}." for stamp in saved)
    return (f'<p class="otlab-footer"><small>{html.escape(versions)}; {html.escape(f["device"])}; '
            f'{f["seconds"]:.0f} s; {html.escape(f["date"][:10])}.{stamps}</small></p>')


def tables_html(data: Mapping) -> str:
    """Both tables of one chapter, the rule, and the footer."""
    out = []
    if data["claims"]:
        out.append(claims_html(data["claims"], caption="Claimed and measured: what publications "
                               "state, and 95 % intervals of what came out here."))
        out.append(f'<p class="otlab-footer"><small>{RULE}</small></p>')
    if data["found"]:
        out.append(found_html(data["found"], caption="Found here: what we noticed ourselves, with "
                              "95 % intervals. Seeds that suggest a finding cannot confirm it; "
                              "only fresh ones can."))
    count = intervals_in([*data["claims"], *data["found"]])
    if count:
        out.append(f'<p class="otlab-footer"><small>{count} intervals stand here; about '
                   f"{expected_misses(count)} of them are expected to miss what they estimate."
                   "</small></p>")
    return "".join([*out, footer_html(data["footer"], data["saved"])])


def _table(heads, lines, caption: str, classes: str) -> str:
    def cell(tag, content, **attributes):
        extra = "".join(f' {k}="{v}"' for k, v in attributes.items())
        return f'<{tag}{extra} style="text-align:left">{content}</{tag}>'  # JupyterLab's is right

    head = "".join(cell("th", h, scope="col") for h in heads)
    body = "".join("<tr>" + cell("th", first, scope="row") + "".join(cell("td", c) for c in rest)
                   + "</tr>\n" for first, *rest in lines)
    caption = f"<caption>{caption}</caption>" if caption else ""
    return (f'<table class="{classes}">{caption}<thead><tr>{head}</tr></thead>\n'
            f"<tbody>{body}</tbody></table>\n")


def _sentence(sentence: str, row: Mapping, source: str = "") -> str:
    out = _text(sentence) + (f" <small>({_text(source)})</small>" if source else "")
    if row.get("note"):
        out += f"<br><small>{_text(row['note'])}</small>"
    if row.get("command"):
        out += f"<br><code>{html.escape(row['command'])}</code>"
    return out


def _measured(row: Mapping) -> str:
    details = [d for d in (row["how"], row.get("from", "")) if d]
    return _text(row["measured"]) + "".join(f"<br><small>{_text(d)}</small>" for d in details)


def _text(words) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(str(words)))
