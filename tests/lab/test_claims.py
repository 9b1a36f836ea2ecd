import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlab.core.stats import Interval, mean_interval, paired_interval
from otlab.lab.claims import (
    MIME,
    RULE,
    Claim,
    claims_table,
    judge,
    judge_bound,
    judge_equal,
    judge_number,
    quoted,
)
from otlab.lab.stored import stored


def row(**change):
    base = dict(claim="κ falls", source="Table 1", claimed="< 1", verdict="reproduced",
                measured=mean_interval([0.5, 0.6, 0.4, 0.5, 0.5]), seeds=5)
    return Claim(**(base | change))


def test_verdicts_come_from_the_measurement():
    assert judge(holds=True, opposite=True) == "reproduced"
    assert judge(holds=False, opposite=True, direction=True) == "refuted"
    assert judge(holds=False, direction=True) == "direction only"
    assert judge(holds=False) == "not reproduced"


def interval(low, high, n=5):
    return Interval((low + high) / 2, low, high, n)


@pytest.mark.parametrize("low, high, verdict", [
    (1.9, 2.3, "reproduced"), (2.2, 2.6, "reproduced"), (1.2, 1.9, "direction only"),
    (0.9, 2.6, "not reproduced"), (0.8, 1.2, "not reproduced"), (0.4, 0.9, "refuted"),
    (1.0, 1.0, "not tested")])
def test_one_rule_for_claims_with_a_number(low, high, verdict):
    assert judge_number(interval(low, high), 2.1, null=1) == verdict
    mirrored = interval(2 - high, 2 - low)
    assert judge_number(mirrored, -0.1, null=1) == verdict


def test_one_rule_for_claims_with_a_sign_only():
    assert judge_number(interval(0.1, 0.2), direction=1) == "reproduced"
    assert judge_number(interval(0.1, 0.2), direction=-1) == "refuted"
    assert judge_number(interval(-0.1, 0.2), direction=1) == "not reproduced"


@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(0.01, 5))
def test_invariant_no_verdict_on_the_sign_when_the_interval_holds_the_null(mean, half, number):
    found = judge_number(interval(mean - half, mean + half), number)
    assert (found == "not reproduced") == (mean - half <= 0 <= mean + half)


def test_equality_needs_the_whole_interval_within_the_margin():
    assert judge_equal(interval(0.95, 1.02), 1, margin=0.1) == "reproduced"
    assert judge_equal(interval(0.85, 1.02), 1, margin=0.1) == "not reproduced"
    assert judge_equal(interval(1.2, 1.3), 1, margin=0.1) == "refuted"


def test_oracle_verdicts_of_bounds():
    assert judge_bound(interval(0.95, 1.02), at_least=0.9) == "reproduced"
    assert judge_bound(interval(0.85, 1.02), at_least=0.9) == "not reproduced"
    assert judge_bound(interval(0.2, 0.3), at_least=0.9) == "refuted"
    assert judge_bound(interval(0.2, 0.3), at_most=0.3) == "reproduced"
    assert judge_bound(interval(0.4, 0.5), at_most=0.3) == "refuted"
    with pytest.raises(ValueError, match="one bound"):
        judge_bound(interval(0, 1))


def test_too_few_seeds_and_columns_that_coincide_test_nothing():
    few = row(measured=interval(-2, -1, n=2), verdict="refuted", seeds=2, note="Say it.")
    assert few.verdict == "not tested" and few.note == "Needs 5 seeds; run --budget page. Say it."
    assert judge_number(interval(1, 2, n=4), direction=1) == "not tested"
    assert row(verdict="reproduced", seeds=1, exact=True).verdict == "reproduced"
    same = paired_interval([1.0, 2, 3, 4, 5], [1.0, 2, 3, 4, 5])
    claim = row(measured=same, verdict=judge_number(same, direction=1), seeds=5)
    assert claim.verdict == "not tested" and "with itself" in claim.note


def test_a_caption_quotes_no_interval_of_too_few_seeds():
    assert quoted(interval(4.3, 5.3)) == "4.80 (4.30 to 5.30)"
    assert "2 seeds" in quoted(interval(0, 0, n=2)) and "0 (" not in quoted(interval(0, 0, n=2))


def test_rows_name_their_kind_and_the_rule_stands_below():
    table = claims_table([row(kind="paper"), row()], chapter="x", seconds=1)
    html = table._repr_mimebundle_()["text/html"]
    assert "(paper: Table 1)" in html and "(ours: Table 1)" in html and RULE in html
    assert [r["kind"] for r in table.data()["claims"]] == ["paper", "ours"]


def test_saved_runs_are_marked_and_stamped_once(tmp_path, monkeypatch):
    monkeypatch.setenv("OTLAB_RESULTS", str(tmp_path))
    fresh = stored("x", "long", lambda: {"a": 1}, mode="save", given={"epsilon": 0.1})
    read = stored("x", "long", dict, mode="read", given={"epsilon": 0.5})
    data = claims_table([row(saved=read), row(saved=read), row(saved=fresh)], chapter="x",
                        seconds=1).data()
    assert [r["stored"] for r in data["claims"]] == [True, True, False]
    assert data["claims"][0]["parameters"] == {"epsilon": 0.1}
    assert data["claims"][0]["differs"] == ["epsilon"] and "differs" not in data["claims"][2]
    html = claims_table([row(saved=read)] * 2, chapter="x", seconds=1)._repr_mimebundle_()
    assert html["text/html"].count("saved on") == 1
    assert html["text/html"].count("not your 0.5") == 3
    shown = claims_table([row()], chapter="x", seconds=1, saved=[read, read, fresh]).data()
    assert len(shown["saved"]) == 1 and shown["saved"][0].startswith("long: ")


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
    with pytest.raises(ValueError, match="kind"):
        row(kind="theirs")
    with pytest.raises(ValueError, match="direction"):
        judge_number(interval(0, 1), -1.0, direction=1)
    with pytest.raises(ValueError, match="direction"):
        judge_number(interval(0, 1))
    with pytest.raises(ValueError, match="every claim"):
        claims_table([], chapter="x", seconds=0)
    assert row(verdict="not tested", measured=None, command="otlab run x").measured is None
