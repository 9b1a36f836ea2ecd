import json

import pytest

from otlab.core.stats import mean_interval
from otlab.lab.claims import MIME, Claim, claims_table, judge


def row(**change):
    base = dict(claim="κ falls", source="Table 1", claimed="< 1", verdict="reproduced",
                measured=mean_interval([0.5, 0.6, 0.4]), seeds=3)
    return Claim(**(base | change))


def test_verdicts_come_from_the_measurement():
    assert judge(holds=True, opposite=True) == "reproduced"
    assert judge(holds=False, opposite=True, direction=True) == "refuted"
    assert judge(holds=False, direction=True) == "direction only"
    assert judge(holds=False) == "not reproduced"


def test_table_carries_data_and_escaped_html():
    bundle = claims_table([row(claim="a < b & c")], chapter="x", seconds=3)._repr_mimebundle_()
    data = json.loads(json.dumps(bundle[MIME]))
    assert data["claims"][0]["interval"][0] < 0.5 < data["claims"][0]["interval"][1]
    assert data["footer"]["versions"]["jax"] and data["footer"]["device"]
    assert "a &lt; b &amp; c" in bundle["text/html"] and 'scope="col"' in bundle["text/html"]


def test_failure_untested_needs_its_command_and_tested_its_number():
    with pytest.raises(ValueError, match="command"):
        row(verdict="not tested", measured=None)
    with pytest.raises(ValueError, match="no measurement"):
        row(measured=None)
    with pytest.raises(ValueError, match="judge"):
        row(verdict="sort of")
    with pytest.raises(ValueError, match="every claim"):
        claims_table([], chapter="x", seconds=0)
    assert row(verdict="not tested", measured=None, command="otlab run x").measured is None
