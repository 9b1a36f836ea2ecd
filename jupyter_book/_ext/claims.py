"""The page of all claims, written from the result.json of every chapter."""

import html
from collections import Counter

from otlab.lab.claims import VERDICTS, simulation
from otlab.lab.claims.rows import STANDINGS
from otlab.lab.claims.table import (
    badge,
    claims_html,
    expected_misses,
    footer_html,
    found_html,
    intervals_in,
)

MARK = "% claims: the build puts the tables of all chapters here"
TOTALS = "% totals: the build counts all rows here"
SIMULATION = "% simulation: the build puts the table of rates here"


def chips(words: list[str], order: tuple[str, ...]) -> str:
    """How many rows have each verdict or standing."""
    counts = Counter(words)
    badges = " ".join(f"<li>{badge(v)} <b>{counts[v]}</b></li>" for v in order if counts[v])
    return f'<ul class="otlab-totals">{badges}</ul>'


def counted(number: int, singular: str, plural: str) -> str:
    """A number with its noun."""
    return f"{number:,} {singular if number == 1 else plural}"


def expected_to_err(claims: list[dict], found: list[dict]) -> str:
    """How many intervals the page holds, and how many of them are expected to err."""
    number = intervals_in([*claims, *found])
    return (f"<p>This page holds {counted(number, 'interval', 'intervals')} of 95 %: even if every "
            f"experiment was done right, about {expected_misses(number)} of them are expected to "
            "miss what they estimate, and nobody knows which.</p>")


def scrolled(table: str, label: str) -> str:
    """A wide table that moves sideways in a region of its own, named for screen readers."""
    return (f'<div class="otlab-scroll" tabindex="0" role="region" '
            f'aria-label="{html.escape(label)}">\n{table}</div>\n')


def raw(text: str) -> str:
    """HTML for MyST."""
    return f"```{{raw}} html\n{text.strip()}\n```\n"


def section(title: str, path: str, result: dict, *, kind: str) -> str:
    """The claims, or the findings, of one chapter."""
    draw, label = {"claims": (claims_html, "Claims of"), "found": (found_html, "Found in")}[kind]
    table = scrolled(draw(result[kind], classes="otlab-all-claims"), f"{label} {title}")
    foot = footer_html(result) if kind == "claims" or not result.get("claims") else ""
    return f"### [{title}]({path})\n\n" + raw(table + foot)


def totals(chapters: list[tuple[str, str, dict]]) -> str:
    """MyST text: how many rows there are, by verdict and standing, and how many may err.

    Args:
        chapters: (title, path of the notebook in the book, the runner's result.json).
    """
    claims, found = ([row for *_, result in chapters for row in result.get(kind, [])]
                     for kind in ("claims", "found"))
    if not claims and not found:
        return "No chapter has saved claims yet.\n"
    return raw(f"<p>{counted(len(claims), 'claim', 'claims')} of papers:</p>"
               + chips([row["verdict"] for row in claims], VERDICTS)
               + f"<p>{counted(len(found), 'finding', 'findings')} of ours:</p>"
               + chips([row["standing"] for row in found], STANDINGS)
               + expected_to_err(claims, found))


def page(chapters: list[tuple[str, str, dict]]) -> str:
    """MyST text: what the papers claim by chapter, then what we found by chapter."""
    out = []
    for kind, heading in (("claims", "What papers claim"), ("found", "Found here")):
        with_rows = [entry for entry in chapters if entry[2].get(kind)]
        if with_rows:
            out.append(f"## {heading}\n")
            out += [section(*entry, kind=kind) for entry in with_rows]
    return "\n".join(out)


def simulated() -> str:
    """MyST text: how often the old rule and this one give each verdict, truths being known."""
    verdicts = [v for v in VERDICTS if v != "not tested"]
    heads = ["Truth", "Noise", "Old rule: reproduced", *(f"This rule: {v}" for v in verdicts)]
    lines = [[f"{r['truth']:g}", f"{r['noise']:g}"] + [f"{100 * rate:.0f} %" for rate in (
        r["old"]["reproduced"], *(r["new"][v] for v in verdicts))] for r in simulation.table()]
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    body = "\n".join(f'<tr><th scope="row">{truth}</th>'
                     + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"
                     for truth, *cells in lines)
    return raw(scrolled(f'<table class="otlab-numbers"><thead><tr>{head}</tr></thead>\n<tbody>'
                        f"{body}</tbody></table>\n", "Rates of the verdicts"))
