"""The bags are large, unlike each other, and their words find them."""

import pytest

from otlab.steering.concepts import CONCEPTS, NEUTRAL, bags


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


def test_failure_sentence():
    with pytest.raises(ValueError, match="has 256 sentences; got n=300"):
        bags(CONCEPTS["ocean"], 300, seed=0)
