"""The page of all claims, written from the result.json of every chapter."""

import html
import re
from collections import Counter

VERDICTS = ("reproduced", "direction only", "not reproduced", "refuted", "not tested")


def badge(verdict: str) -> str:
    """The verdict in words, coloured by its class."""
    slug = verdict.replace(" ", "-")
    return f'<span class="otlab-verdict otlab-verdict-{slug}">{html.escape(verdict)}</span>'


def kind(claim: dict) -> str:
    """"paper", or "ours" for what only our notes expect."""
    return claim.get("kind", "ours")


def chips(claims: list[dict], word: str) -> str:
    """How many claims of one kind, by verdict."""
    counts = Counter(claim["verdict"] for claim in claims)
    badges = " ".join(f"<li>{badge(v)} <b>{counts[v]}</b></li>" for v in VERDICTS if counts[v])
    plural = "claim" if len(claims) == 1 else "claims"
    return f'<p>{len(claims)} {plural} {word}:</p><ul class="otlab-totals">{badges}</ul>'


def number(value: float) -> str:
    """Four significant digits, no exponent where none is needed."""
    return f"{value:.4g}"


def row(claim: dict) -> str:
    """One claim as a table row."""
    text = {k: re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(str(v)))
            for k, v in claim.items() if isinstance(v, str | int | float)}
    said = f"{text['claim']} <small>({kind(claim)}: {text['source']})</small>"
    if claim.get("note"):
        said += f'<br><small>{text["note"]}</small>'
    if claim.get("command"):
        said += f'<br><code>{text["command"]}</code>'
    measured = text.get("measured", "–")
    if claim.get("interval"):
        low, high = claim["interval"]
        measured += f"<br><small>95 %: {number(low)} to {number(high)}</small>"
    if claim.get("stored"):
        measured += f'<br><small>{text.get("from", "saved run")}</small>'
    seeds = text["seeds"] if claim.get("seeds") else "–"
    return (f'<tr><th scope="row">{text["number"]}</th><td>{said}</td><td>{text["claimed"]}</td>'
            f"<td>{measured}</td><td>{seeds}</td><td>{badge(claim['verdict'])}</td></tr>")


def table(title: str, data: dict) -> str:
    """All rows of one chapter with a footer of versions, device, seconds and date."""
    heads = ("#", "Claim", "Claimed", "Measured", "Seeds", "Verdict")
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    body = "\n".join(row(claim) for claim in data["claims"])
    versions = ", ".join(f"{k} {v}" for k, v in data["versions"].items())
    return (f'<div class="otlab-scroll" tabindex="0" role="region" '
            f'aria-label="Claims of {html.escape(title)}">\n'
            f'<table class="otlab-claims otlab-all-claims"><thead><tr>{head}</tr></thead>\n<tbody>'
            f'{body}</tbody></table></div>\n<p class="otlab-footer"><small>'
            f'{html.escape(versions)}; {html.escape(data["device"])}; {data["seconds"]:.0f} s; '
            f'{html.escape(data["date"][:10])}</small></p>\n')


def page(chapters: list[tuple[str, str, dict]]) -> str:
    """MyST text: totals, then a section for each chapter.

    Args:
        chapters: (title, path of the notebook in the book, the runner's result.json).
    """
    chapters = [entry for entry in chapters if entry[2].get("claims")]
    every = [claim for *_, result in chapters for claim in result["claims"]]
    if not every:
        return "No chapter has saved claims yet.\n"
    of = {word: [claim for claim in every if kind(claim) == word] for word in ("paper", "ours")}
    words = {"paper": "of the papers", "ours": "of our notes"}
    totals = "".join(chips(of[word], words[word]) for word in of if of[word])
    out = [f"```{{raw}} html\n{totals}\n```\n"]
    for title, path, result in chapters:
        out.append(f"## [{title}]({path})\n\n```{{raw}} html\n{table(title, result)}```\n")
    return "\n".join(out)
