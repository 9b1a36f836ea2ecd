"""The calls of chapters that are not converted yet; goes with the last of them.

The same rule draws the verdicts; a row of kind "ours" stands in "Found here".
"""

from dataclasses import dataclass

from otlab.core.stats import Interval
from otlab.lab.claims import rule
from otlab.lab.stored import Stored

KINDS = ("paper", "ours")


def judge(*, holds: bool, direction: bool = False, opposite: bool = False) -> str:
    """The verdict from conditions; gone from the new interface, where no chapter writes any."""
    if holds:
        return "reproduced"
    if opposite:
        return "refuted"
    return "direction only" if direction else "undecided"


def judge_number(interval: Interval, number: float | None = None, *, null: float = 0.0,
                 direction: int | None = None) -> str:
    """The verdict on an effect of claimed sign and, maybe, size."""
    if direction is None and number is not None:
        direction = 1 if number > null else -1
    if direction not in (1, -1) or (number is not None and direction * (number - null) <= 0):
        raise ValueError(f"judge_number wants a direction, 1 or -1, and a number on that side of "
                         f"null={null}; got direction={direction}, number={number}.")
    sign = rule.above(null) if direction == 1 else rule.below(null)
    return rule.judge(sign if number is None else rule.number(number, null=null), interval).word


def judge_equal(interval: Interval, number: float, *, margin: float) -> str:
    """The verdict on "equal to number, to within margin"."""
    return rule.judge(rule.equals(number, margin=margin), interval).word


def judge_bound(interval: Interval, *, at_least: float | None = None,
                at_most: float | None = None) -> str:
    """The verdict on "at least" or "at most"."""
    if (at_least is None) == (at_most is None):
        raise ValueError(f"judge_bound wants one bound; got at_least={at_least}, "
                         f"at_most={at_most}.")
    bound = rule.at_most(at_most) if at_least is None else rule.at_least(at_least)
    return rule.judge(bound, interval).word


@dataclass(frozen=True)
class Claim:
    """A row as chapters wrote it: text for what is claimed, the verdict and the seeds beside."""

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
    saved: "Stored | None" = None

    def __post_init__(self):
        if self.verdict not in rule.VERDICTS or self.kind not in KINDS:
            raise ValueError(f"verdict is one of {', '.join(rule.VERDICTS)} and kind one of "
                             f"{', '.join(KINDS)}; got {self.verdict!r}, {self.kind!r}.")
        if self.measured is None:
            if self.verdict != "not tested":
                raise ValueError(f"claim {self.claim!r} has the verdict {self.verdict!r} but no "
                                 "measurement: pass measured=..., or verdict='not tested'.")
            if not self.command:
                raise ValueError(f"claim {self.claim!r} is not tested, so it must say the command "
                                 "that would test it: Claim(..., command='otlab run …').")
            return
        interval = self.measured if isinstance(self.measured, Interval) else None
        seeds, why = interval.n if interval else self.seeds, ""
        if not self.exact and seeds < rule.SEEDS:
            why = rule.FEW
        elif interval and interval.flat and not self.exact:
            why = rule.FLAT
        elif self.verdict == "not tested":
            why = rule.ITSELF
        if why:
            object.__setattr__(self, "verdict", "not tested")
            object.__setattr__(self, "note", f"{why} {self.note}".strip())

    def data(self) -> dict:
        """The row as plain data, as the new rows give it."""
        from otlab.lab.claims.rows import measurement, origin

        interval = self.measured if isinstance(self.measured, Interval) else None
        row = measurement(interval)
        if interval is None and self.measured is not None:
            row |= {"measured": str(self.measured), "seeds": 0 if self.exact else self.seeds,
                    "how": "exact" if self.exact else f"{self.seeds} seeds"}
        row |= {"note": self.note, "command": self.command} | origin(self.saved)
        if self.kind == "paper":
            return {"claim": self.claim, "source": self.source, "claimed": self.claimed,
                    "verdict": self.verdict} | row
        standing = {"not tested": "not tested"} | {word: "found here" for word in rule.HOLD}
        return {"found": self.claim, "shows": self.claimed, "confirmed_by": None,
                "standing": standing.get(self.verdict, "not seen here")} | row
