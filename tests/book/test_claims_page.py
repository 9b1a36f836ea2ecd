"""The page of all claims, made from results without building a book."""

import importlib.util
from pathlib import Path

import pytest

from otlab.core.stats import exact, mean_interval
from otlab.lab.claims import Claim, Found, above, below, claims_table

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location(
    "claims_page", ROOT / "jupyter_book" / "_ext" / "claims.py")
claims = importlib.util.module_from_spec(spec)
spec.loader.exec_module(claims)
HIGH = mean_interval([2.0, 2.1, 1.9, 2.0, 2.05])


@pytest.fixture
def chapters():
    """Two chapters as the runner leaves them: one with both tables, one with findings alone."""
    def result(rows, found):
        data = claims_table(rows, found=found, chapter="x", seconds=61).data()
        return {"claims": data["claims"], "found": data["found"]} | data["footer"]

    claimed = [Claim("It `rises`", "Table 1", above(0), HIGH),
               Claim("It falls", "Figure 2", below(0), HIGH),
               Claim("FID", "Table 3", "2.3", command="otlab run x -p images=mnist")]
    found = [Found("It is positive", above(0), HIGH)]
    fresh = mean_interval([2.0, 2.2, 1.9, 2.0, 2.1])
    return [("First", "notebooks/a/first.ipynb", result(claimed, found)),
            ("Second & last", "notebooks/b/second.ipynb", result([], [
                Found("Twice <", above(1), HIGH, confirmed_by=fresh),
                Found("An identity", above(0), exact([1.0, 2.0]))]))]


def test_totals_count_claims_and_findings_apart_and_say_how_many_may_err(chapters):
    text = claims.totals(chapters)
    assert "3 claims of papers" in text and "3 findings of ours" in text
    assert text.count("<b>1</b>") == 4 and text.count("<b>2</b>") == 1
    assert "5 intervals of 95 %" in text          # two claims, two findings, fresh seeds
    assert "about 0.2 of them" in text


def test_papers_come_first_then_findings_by_chapter(chapters):
    text = claims.page(chapters)
    order = [text.index(part) for part in
             ("## What papers claim", "### [First](notebooks/a/first.ipynb)",
              "It <code>rises</code>", "otlab run x -p images=mnist", "## Found here",
              "It is positive", "### [Second & last](notebooks/b/second.ipynb)", "Twice &lt;",
              "fresh seeds: ")]
    assert order == sorted(order)
    assert text.count("otlab-footer") == 2 and "Found in Second &amp; last" in text
    assert ">refuted</span>" in text and ">confirmed on fresh seeds</span>" in text


def test_a_book_without_claims_says_so():
    assert claims.totals([("t", "p", {"claims": []})]) == "No chapter has saved claims yet.\n"
    assert claims.page([("t", "p", {"claims": []})]) == ""


def test_the_page_has_a_place_for_totals_rates_and_tables():
    frame = (ROOT / "jupyter_book" / "claims.md").read_text("utf-8")
    for mark in (claims.TOTALS, claims.SIMULATION, claims.MARK):
        assert frame.count(mark) == 1
    rates = claims.simulated()
    assert rates.count("<tr>") == 21 and 'scope="row"' in rates
    assert "<td>0.02</td><td>100 %</td><td>0 %</td><td>100 %</td>" in rates     # truth 10
