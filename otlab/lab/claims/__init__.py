"""Claimed and measured, and found here: the two tables that end every chapter.

from otlab.lab.claims import Claim, Found, above, claims_table, ratio
"""

from otlab.core.stats import exact
from otlab.lab.claims.rows import Claim, Found
from otlab.lab.claims.rule import (
    RULE,
    SEEDS,
    VERDICTS,
    above,
    at_least,
    at_most,
    below,
    between,
    equals,
    number,
    ratio,
)
from otlab.lab.claims.table import MIME, SCHEMA, claims_table, quoted

__all__ = ["MIME", "RULE", "SCHEMA", "SEEDS", "VERDICTS", "Claim", "Found", "above", "at_least",
           "at_most", "below", "between", "claims_table", "equals", "exact", "number",
           "quoted", "ratio"]
