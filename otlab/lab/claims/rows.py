"""The two kinds of rows: what a publication claims, and what we found ourselves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from otlab.core.stats import Interval
from otlab.lab.claims.rule import (
    HOLD,
    Expected,
    Measured,
    Region,
    Verdict,
    judge,
    parts,
)
from otlab.lab.stored import Stored

STANDINGS = ("found here", "confirmed on fresh seeds", "not confirmed on fresh seeds",
             "not seen here", "not tested")
PLACE = re.compile(r"\b(page|p\.|table|figure|fig\.|section|appendix|equation|eq\.|theorem|lemma|"
                   r"proposition|corollary|algorithm|definition|abstract|introduction)", re.I)
OURS = re.compile(r"\b(notes?|sheet|ours?|found here|this page|otlab)\b", re.I)


@dataclass(frozen=True)
class Claim:
    """One row of "Claimed and measured": what a publication states, and what came out here.

    claim: one sentence. source: where in the publication: page, table, figure, equation, ….
    claimed: what it says, as `ratio(2.6)`, `number(0.46)`, `above(0)`, `below(1)`,
        `at_least(…)`, `at_most(…)`, `between(…)` or `equals(…, margin=…)`; one for each
        interval, in a tuple, when they differ. Text only where nothing was measured.
    measured: an Interval, or several, in a sequence or by name: then the claim holds when it
        holds for every one. `exact(values)` for what no seed can change. None when not tested.
    note: what a careful reader should know. command: what would test it (or did, when it is too
        long for a page). saved: the `stored` result behind it, if any.

    The verdict, and how many seeds it rests on, come from these alone.
    """

    claim: str
    source: str
    claimed: "Expected | Sequence[Expected] | str"
    measured: "Measured | None" = None
    note: str = field(default="", kw_only=True)
    command: str = field(default="", kw_only=True)
    saved: "Stored | None" = field(default=None, kw_only=True)

    def __post_init__(self):
        if OURS.search(self.source) or not PLACE.search(self.source):
            raise ValueError(f"the source of a claim is a page, table, figure, section, theorem or "
                             f"equation of a publication; got {self.source!r}. What we found or "
                             "expected ourselves is Found(…).")
        if self.measured is None and not self.command:
            raise ValueError(f"claim {self.claim!r} is not tested, so it must say the command "
                             "that would test it: Claim(..., command='otlab run …').")
        if self.measured is not None and isinstance(self.claimed, str):
            raise ValueError(f"claim {self.claim!r} is measured, so it must say what is claimed as "
                             f"ratio(…), number(…), above(…), …; got the text {self.claimed!r}.")
        self.verdict  # noqa: B018  a claim that cannot be judged fails where it stands

    @property
    def verdict(self) -> Verdict:
        """The verdict, with the reason where nothing was tested."""
        if self.measured is None:
            return Verdict("not tested")
        return judge(self.claimed, self.measured)

    def data(self) -> dict:
        """The row as plain data."""
        word, why = self.verdict
        return ({"claim": self.claim, "source": self.source, "claimed": _expected(self.claimed)}
                | measurement(self.measured)
                | {"verdict": word, "note": f"{why} {self.note}".strip(), "command": self.command}
                | origin(self.saved))


@dataclass(frozen=True)
class Found:
    """One row of "Found here": what we noticed while making the chapter. It is no claim.

    found: one sentence. shows: what its interval must show for the sentence to stand, as
        `above(0)`, `at_most(…)`, `equals(…, margin=…)`, …; one for each interval, or one for all.
    measured: an Interval, or several. confirmed_by: the same, on fresh seeds that did not
        suggest it. note, saved: as of a `Claim`.
    """

    found: str
    shows: "Region | Sequence[Region]"
    measured: Measured
    confirmed_by: "Measured | None" = field(default=None, kw_only=True)
    note: str = field(default="", kw_only=True)
    saved: "Stored | None" = field(default=None, kw_only=True)

    def __post_init__(self):
        shows = [self.shows] if isinstance(self.shows, Expected) else list(self.shows)
        if not all(isinstance(s, Region) for s in shows):
            raise ValueError(f"nobody claimed a number in {self.found!r}: it shows above(…), "
                             "below(…), at_least(…), at_most(…), between(…) or equals(…).")
        if self.confirmed_by is not None and parts(self.confirmed_by) == parts(self.measured):
            raise ValueError(f"{self.found!r} is confirmed by the very samples that suggested it; "
                             "measure it again on other seeds.")
        self.standing  # noqa: B018  a row that cannot be judged fails where it stands

    @property
    def standing(self) -> Verdict:
        """One of STANDINGS, with the reason where nothing was tested."""
        word, why = judge(self.shows, self.measured)
        if word not in HOLD:
            return Verdict(word if word == "not tested" else "not seen here", why)
        if self.confirmed_by is None:
            return Verdict("found here")
        word, why = judge(self.shows, self.confirmed_by)
        if word == "not tested":
            return Verdict("found here", f"Fresh seeds: {why}")
        return Verdict(f"{'' if word in HOLD else 'not '}confirmed on fresh seeds")

    def data(self) -> dict:
        """The row as plain data."""
        word, why = self.standing
        fresh = None if self.confirmed_by is None else measurement(self.confirmed_by)
        return ({"found": self.found, "shows": _expected(self.shows)} | measurement(self.measured)
                | {"confirmed_by": fresh, "standing": word, "note": f"{why} {self.note}".strip()}
                | origin(self.saved))


def measurement(measured: Measured | None) -> dict:
    """A measurement as plain data: its text, its intervals, and its one interval if it has one."""
    if measured is None:
        return {"measured": "–", "mean": None, "interval": None, "seeds": 0, "how": "", "parts": []}
    intervals = parts(measured)
    names = list(measured) if isinstance(measured, Mapping) else [""] * len(intervals)
    text = "; ".join(f"{name} {v}".strip() for name, v in zip(names, intervals, strict=True))
    single = intervals[0] if len(intervals) == 1 else None
    return {"measured": text, "mean": single and single.mean,
            "interval": [single.low, single.high] if single else None,
            "seeds": min((v.n for v in intervals if v.kind != "exact"), default=0),
            "how": "; ".join(dict.fromkeys(v.how for v in intervals)),
            "parts": [_interval(name, v) for name, v in zip(names, intervals, strict=True)]}


def origin(saved: Stored | None) -> dict:
    """Whether a row was read from a saved run, which one, and where its parameters differ."""
    if saved is None or saved.fresh:
        return {"stored": False}
    return {"stored": True, "run": saved.name, "parameters": saved.parameters,
            "differs": sorted(saved.differs), "from": saved.label}


def _interval(name: str, v: Interval) -> dict:
    return {"name": name, "mean": v.mean, "low": v.low, "high": v.high, "n": v.n, "kind": v.kind,
            "level": v.level, "resampled": v.resampled}


def _expected(claimed) -> str:
    if isinstance(claimed, str):
        return claimed
    several = [claimed] if isinstance(claimed, Expected) else claimed
    return "; ".join(e.text for e in several)
