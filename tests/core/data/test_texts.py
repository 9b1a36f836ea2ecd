"""The facts are documented; the bags are large, unlike each other, and their words find them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from otlab.core import data
from otlab.core.data import texts
from otlab.core.data.texts import CONCEPTS, NEUTRAL, bags, facts

FOLDER = Path(texts.__file__).parent


def test_facts_are_documented_and_small():
    path = FOLDER / "facts.json"
    assert path.stat().st_size < 40_000
    saved = json.loads(path.read_text("utf-8"))["tables"]
    assert list(saved) == ["capitals", "cities", "words", "verbs"]
    for name, table in saved.items():
        found = facts(name)
        assert found.name == name and found.source == table["source"]
        assert found.licence in ("CC BY 4.0 (GeoNames)", "Apache-2.0") and len(found.columns) == 2
        assert [list(row) for row in found.rows] == table["rows"]
        items = [a for a, _ in found.rows]
        assert len(set(items)) == len(items) > 150
    assert "GeoNames" in facts("cities").source and "disputed" in facts("cities").left_out
    assert not {c for _, c in facts("capitals").rows} & {c for c, _ in facts("cities").rows}


def test_oracle_some_facts():
    for table, pair in (("capitals", ("Peru", "Lima")), ("cities", ("Mumbai", "India")),
                        ("words", ("house", "casa")), ("verbs", ("bring", "brought"))):
        assert pair in facts(table).rows


def test_concepts_name_source_and_licence():
    for concept in (NEUTRAL, *CONCEPTS.values()):
        assert concept.source == "written for OT Lab" and concept.licence == "Apache-2.0"
    assert list(CONCEPTS) == ["football", "ocean", "cooking", "space", "music"]
    assert data.CONCEPTS is CONCEPTS and data.facts is facts


@pytest.mark.parametrize("concept", CONCEPTS.values(), ids=list(CONCEPTS))
def test_invariant_the_words_find_the_concept_and_nothing_else(concept):
    assert len(set(concept.sentences)) == 256
    assert concept.presence(concept.sentences).mean() > 0.6
    assert concept.presence(NEUTRAL.sentences).sum() == 0
    for other in CONCEPTS.values():
        if other is not concept:
            assert concept.presence(other.sentences).mean() < 0.2, other.name


def test_invariant_draws_are_seeded_and_without_repeats():
    a, b = bags(CONCEPTS["ocean"], 64, seed=1)
    assert len(set(a)) == len(set(b)) == 64
    assert (a, b) == tuple(bags(CONCEPTS["ocean"], 64, seed=1))
    assert b != bags(CONCEPTS["ocean"], 64, seed=2)[1]


def test_oracle_whole_words_in_any_case():
    sea = CONCEPTS["ocean"]
    assert sea.presence(["The SEA.", "a season", "two whales", "a whale!"]).tolist() == [
        True, False, False, True]


def test_invariant_a_concept_without_words_is_in_no_text():
    assert NEUTRAL.words == () and not NEUTRAL.presence([*NEUTRAL.sentences, ""]).any()
    assert replace(NEUTRAL, words=("letter",)).presence(["A letter."]).all()


def test_failure_sentences():
    with pytest.raises(ValueError, match="table must be one of capitals, cities, words, verbs;"):
        facts("planets")
    with pytest.raises(ValueError, match="has 256 sentences; got n=300"):
        bags(CONCEPTS["ocean"], 300, seed=0)
