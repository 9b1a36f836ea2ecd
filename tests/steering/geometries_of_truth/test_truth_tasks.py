"""Statements, questions and their checkers."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlab.core.data.texts import facts
from otlab.steering.geometries_of_truth import truth_tasks as tt


def test_oracle_statements_agree_with_the_facts():
    found = tt.statements()
    at, capital = dict(facts("cities").rows), dict(facts("capitals").rows)
    for task, table, cut in (("cities", at, " is in "), ("negations", at, " is not in ")):
        s = found[task]
        for text, y in zip(s.texts, s.y, strict=True):
            city, country = text.removeprefix("The city of ").removesuffix(".").split(cut)
            assert (table[city] == country) == (y == 1) ^ (task == "negations")
    for text, y in zip(found["capitals"].texts, found["capitals"].y, strict=True):
        country, city = text.removeprefix("The capital of ")[:-1].split(" is ")
        assert (capital[country] == city) == bool(y)
    numbers = {tt.in_words(n): n for n in range(20, 100)}
    for text, y in zip(found["larger than"].texts, found["larger than"].y, strict=True):
        a, b = text[:-1].lower().split(" is larger than ")
        assert (numbers[a] > numbers[b]) == bool(y)
    spanish = {b: a for a, b in facts("words").rows}
    for text, y in zip(found["Spanish"].texts, found["Spanish"].y, strict=True):
        _, word, _, meaning, _ = text.split("'")
        assert (spanish[word] == meaning) == bool(y)


def test_invariant_sizes_balance_and_words():
    found = tt.statements()
    assert {name: len(s.texts) for name, s in found.items()} == {
        name: 2 * n for name, n in tt.SIZES.items()}
    for s in found.values():
        size = 2 if s.name == "larger than" else 4
        assert s.y.mean() == 0.5 and set(Counter(s.groups).values()) == {size}
        words = {}
        for text, y, group in zip(s.texts, s.y, s.groups, strict=True):
            words.setdefault((group, y), Counter()).update(text.lower().strip(".").split())
        for group in set(s.groups):
            assert words[group, 0] == words[group, 1], f"words alone give {group} away"
    again = tt.statements()
    assert all(again[k].texts == found[k].texts for k in found)
    assert tt.statements(seed=1)["cities"].texts != found["cities"].texts


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcde"), min_size=6, max_size=30), st.integers(0, 99))
def test_invariant_couples(partners, seed):
    rng = np.random.default_rng(seed)
    if len(partners) % 2 or 2 * max(Counter(partners).values()) > len(partners):
        with pytest.raises(ValueError, match="even number"):
            tt.couples(partners, rng)
        return
    pairs = tt.couples(partners, rng)
    assert sorted(k for pair in pairs for k in pair) == list(range(len(partners)))
    assert all(partners[i] != partners[j] for i, j in pairs)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99))
def test_invariant_splits_keep_groups_whole_across_tasks(seed):
    tasks = tt.statements()
    sides = tt.split(tasks, seed)
    where = {}
    for name, task in tasks.items():
        assert abs(sides[name].mean() - 0.65) < 0.01
        for group, side in zip(task.groups, sides[name], strict=True):
            assert where.setdefault(group, side) == side


def test_oracle_questions_and_answers():
    found = tt.questions()
    assert list(found) == [*tt.QUESTIONS, tt.TWICE]
    for q in found.values():
        assert len(set(q.prompts)) == len(q.prompts) >= 150
        assert q.correct([f" {want}." for want in q.answers]).all()
        assert not q.correct([""] * len(q.answers)).any()
    item = [g.split(":")[1].split(" ") for g in found["addition"].groups]
    assert list(found["addition"].answers) == [str(int(a) + int(b)) for a, b in item]
    assert found[tt.TWICE].answers == found["addition"].answers
    assert (found[tt.TWICE].groups == found["addition"].groups).all()
    for g, want in zip(found["decimals"].groups, found["decimals"].answers, strict=True):
        assert float(want) == max(map(float, g.split(":")[1].split(" ")))
    for g, want in zip(found["letters"].groups, found["letters"].answers, strict=True):
        word, letter = g.split(":")[1].split(" ")
        assert word.count(letter) == int(want) >= 1


@pytest.mark.parametrize("text, want, right", [
    (" 19\n17", "19", True), (" 19\n17", "1", False), ("7.90", "7.9", True), ("-3", "3", False),
    (" 3 times", "3", True), ("\n\n 42", "42", True), ("it is 42, or 43", "42", True),
    ("no number", "4", False)])
def test_oracle_numbers(text, want, right):
    assert tt.same_number(text, want) == right


@pytest.mark.parametrize("text, want, right", [
    (" Lima.\n", "Lima", True), ("limassol", "Lima", False), ("lima", "Lima", True),
    ('"brought"', "brought", True), ("the capital Lima", "Lima", False), ("", "Lima", False)])
def test_oracle_words(text, want, right):
    assert tt.opens_with(text, want) == right


def test_failure_sentences():
    with pytest.raises(ValueError, match="20 to 99"):
        tt.in_words(7)
    with pytest.raises(ValueError, match="share"):
        tt.split(tt.statements(), 0, train=1.5)
    with pytest.raises(ValueError, match="got 1 answers"):
        tt.questions(n=20)["letters"].correct(["1"])
