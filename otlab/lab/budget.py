"""How much a chapter may compute: smoke for tests, page for the book, long and paper beyond."""

import os
from collections.abc import Mapping
from typing import TypeVar

NAMES = ("smoke", "page", "long", "paper")
VARIABLE = "OTLAB_BUDGET"
_Setting = TypeVar("_Setting")


def budget(name: str, table: Mapping[str, _Setting]) -> _Setting:
    """The settings of a chapter's budget, from its own visible table.

    The environment variable OTLAB_BUDGET lowers the budget (tests set it to ``smoke``) and
    never raises it, so that nobody starts a day of work by accident.

    Args:
        name: smoke (20 s on two cores), page (90 s), long (an hour), or paper (a GPU).
        table: settings by name.

    Raises:
        ValueError: for a name, here or in OTLAB_BUDGET, that is not one of those in the table.
    """
    ceiling = os.environ.get(VARIABLE) or name
    for where, value in (("budget", name), (VARIABLE, ceiling)):
        if value not in NAMES or value not in table:
            known = ", ".join(n for n in NAMES if n in table)
            raise ValueError(f"{where} must be one of {known}; got {value!r}.")
    return table[min(name, ceiling, key=NAMES.index)]
