import json

import pytest

from otlab.core.stats import Interval, exact, mean_interval
from otlab.lab.claims import (
    MIME,
    RULE,
    Claim,
    Found,
    above,
    below,
    claims_table,
    equals,
    quoted,
    ratio,
)
from otlab.lab.claims.table import MOST_FOUND, intervals_in
from otlab.lab.stored import stored

HALF = mean_interval([0.5, 0.6, 0.4, 0.5, 0.5])


def row(**change):
    base = dict(claim="κ falls", source="Table 1", claimed=below(1), measured=HALF)
    return Claim(**(base | change))


def finding(**change):
    return Found(**(dict(found="κ is low", shows=below(1), measured=HALF) | change))


def interval(low, high, n=5):
    return Interval((low + high) / 2, low, high, n)


def test_verdict_and_seeds_come_from_the_measurement():
    assert row().verdict.word == "reproduced" and row().data()["seeds"] == 5
    few = row(measured=interval(2, 3, n=2), note="Say it.").data()
    assert few["verdict"] == "not tested" and few["seeds"] == 2
    assert few["note"] == "Needs 5 seeds; run --budget page. Say it."
    identity = row(claimed=equals(0, margin=1e-8), measured=exact([1e-10, 0])).data()
    assert identity["verdict"] == "reproduced" and identity["seeds"] == 0
    assert identity["how"] == "exact, 2 cases" and identity["measured"] == "0 to 10⁻¹⁰"
    with pytest.raises(TypeError):
        row(verdict="reproduced", measured=HALF, claimed=below(1), seeds=5, exakt=True)


def test_several_intervals_stand_in_one_row_by_name():
    data = row(claimed=(above(1), below(1)), measured={"far": interval(2, 3), "home": HALF}).data()
    assert data["verdict"] == "reproduced" and data["claimed"] == "above 1; below 1"
    assert data["measured"].startswith("far 2.50") and "; home 0.500" in data["measured"]
    assert data["interval"] is None and [p["name"] for p in data["parts"]] == ["far", "home"]


@pytest.mark.parametrize("source", ["notes, claim 1", "our Table 1", "found here, after the fact",
                                    "sheet, section 4", "2410.07815", "the paper"])
def test_failure_a_claim_names_a_place_in_a_publication(source):
    with pytest.raises(ValueError, match="Found"):
        row(source=source)


@pytest.mark.parametrize("source", ["Table 1", "Genevay et al. (2019), Theorem 3", "abstract",
                                    "p. 4", "Figure 5", "v3, Table 2 (CIFAR)",
                                    "Knight (2008), section 4"])
def test_places_in_publications_are_taken(source):
    assert row(source=source).source == source


def test_failure_untested_needs_its_command_and_measured_an_expectation():
    with pytest.raises(ValueError, match="command"):
        row(measured=None)
    with pytest.raises(ValueError, match="ratio"):
        row(claimed="below 1")
    with pytest.raises(TypeError, match="Interval"):
        row(measured="0.5 ± 0.1")
    untested = row(measured=None, claimed="FID 2.3", command="otlab run x").data()
    assert untested["verdict"] == "not tested" and untested["measured"] == "–"


def test_findings_are_confirmed_only_by_fresh_seeds():
    fresh = mean_interval([0.4, 0.5, 0.5, 0.6, 0.7])
    assert finding().standing.word == "found here"
    assert finding(confirmed_by=fresh).standing.word == "confirmed on fresh seeds"
    assert finding(confirmed_by=interval(2, 3)).standing.word == "not confirmed on fresh seeds"
    assert finding(confirmed_by=interval(0, 3)).standing.word == "not confirmed on fresh seeds"
    assert finding(measured=interval(0, 3)).standing.word == "not seen here"
    assert finding(measured=interval(0, .3, n=2)).standing.word == "not tested"
    late = finding(confirmed_by=interval(0, .3, n=2)).data()
    assert late["standing"] == "found here" and late["note"].startswith("Fresh seeds: Needs 5")
    with pytest.raises(ValueError, match="very samples"):
        finding(confirmed_by=HALF)
    with pytest.raises(ValueError, match="nobody claimed"):
        finding(shows=ratio(2))


def test_at_most_ten_findings_a_chapter():
    claims_table([row()], found=[finding()] * MOST_FOUND, chapter="x", seconds=1)
    with pytest.raises(ValueError, match="reads 10"):
        claims_table([row()], found=[finding()] * (MOST_FOUND + 1), chapter="x", seconds=1)
    with pytest.raises(TypeError, match="Found"):
        claims_table([row()], found=[row()], chapter="x", seconds=1)
    with pytest.raises(TypeError, match="Claim"):
        claims_table([finding()], chapter="x", seconds=1)
    with pytest.raises(ValueError, match="no rows"):
        claims_table([], chapter="x", seconds=0)


def test_two_tables_with_the_rule_and_how_many_may_err():
    found = [finding(confirmed_by=interval(0.1, 0.2)), finding(measured=exact(0.5))]
    table = claims_table([row(claim="a < b & c")], found=found, chapter="x", seconds=3)
    bundle = table._repr_mimebundle_()
    data, html = json.loads(json.dumps(bundle[MIME])), bundle["text/html"]
    assert data["schema"] == "otlab.claims/2" and data["footer"]["versions"]["jax"]
    assert data["claims"][0]["interval"][0] < 0.5 < data["claims"][0]["interval"][1]
    assert [r["standing"] for r in data["found"]] == ["confirmed on fresh seeds", "found here"]
    assert intervals_in(data["claims"] + data["found"]) == 3
    assert "3 intervals stand here; about 0.2 of them" in html
    assert "a &lt; b &amp; c" in html and 'scope="col"' in html and RULE in html
    assert html.count("<table") == 2 and "Found here" in html and "mean, 5 seeds" in html
    assert "κ is low: 0.500 ± 0.088: confirmed on fresh seeds" in str(table)
    alone = claims_table([], found=found, chapter="x", seconds=3)._repr_mimebundle_()["text/html"]
    assert alone.count("<table") == 1 and RULE not in alone


def test_a_caption_quotes_no_interval_of_too_few_seeds():
    assert quoted(interval(4.3, 5.3)) == "4.80 (4.30 to 5.30)"
    assert "2 seeds" in quoted(interval(0, 0, n=2)) and "0 (" not in quoted(interval(0, 0, n=2))


def test_saved_runs_are_marked_and_stamped_once(tmp_path, monkeypatch):
    monkeypatch.setenv("OTLAB_RESULTS", str(tmp_path))
    fresh = stored("x", "long", lambda: {"a": 1}, mode="save", given={"epsilon": 0.1})
    read = stored("x", "long", dict, mode="read", given={"epsilon": 0.5})
    data = claims_table([row(saved=read), row(saved=fresh)], found=[finding(saved=read)],
                        chapter="x", seconds=1).data()
    assert [r["stored"] for r in data["claims"] + data["found"]] == [True, False, True]
    assert data["claims"][0]["parameters"] == {"epsilon": 0.1}
    assert data["claims"][0]["differs"] == ["epsilon"] and "differs" not in data["claims"][1]
    html = claims_table([row(saved=read)] * 2, chapter="x", seconds=1)._repr_mimebundle_()
    assert html["text/html"].count("saved on") == 1
    assert html["text/html"].count("not your 0.5") == 3
    shown = claims_table([row()], chapter="x", seconds=1, saved=[read, read, fresh]).data()
    assert len(shown["saved"]) == 1 and shown["saved"][0].startswith("long: ")
