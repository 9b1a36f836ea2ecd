"""True and false statements, and questions with exact answers, from carried facts: no model here.

Two settings that are often confused. `statements`: somebody else's sentences, true and false,
which a model reads. `questions`: prompts that the model answers itself; `Questions.correct` then
says which answers were right. The facts are those of `core.data.texts`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from otlab.core.data.texts import facts

STATEMENTS = ("cities", "negations", "capitals", "larger than", "Spanish")
QUESTIONS = ("addition", "capital", "past tense", "letters", "decimals")
TWICE = "addition, other words"
SIZES = {"cities": 200, "negations": 200, "capitals": 120, "larger than": 100, "Spanish": 200}
_UNITS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True)
class Statements:
    """Sentences of one task.

    texts: n sentences.   y: (n,), 1 where true.
    groups: (n,), "table:items"; what shares a group (a statement, its twin, the couple that lends
        the false partner, their negations) must stand on one side of a split.
    """

    name: str
    texts: tuple[str, ...]
    y: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Questions:
    """Prompts of one task with the exact answer to each, and what counts as that answer.

    number: whether answers are compared as numbers, or as words in any case.
    """

    name: str
    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    groups: np.ndarray
    number: bool

    def correct(self, written: Sequence[str]) -> np.ndarray:
        """Whether each written answer is the right one, (n,) of 0 and 1.

        Only the first line counts. A number must be the first one there and equal to the answer;
        words must open the line, with no letter after them.
        """
        if len(written) != len(self.answers):
            raise ValueError(f"{self.name} has {len(self.answers)} questions; got {len(written)} "
                             "answers.")
        match = same_number if self.number else opens_with
        return np.array([int(match(text, want)) for text, want in
                         zip(written, self.answers, strict=True)])


def same_number(text: str, want: str) -> bool:
    """Whether the first number on the first line of text is `want`: 7.90 is 7.9, 19 is not 1."""
    found = re.search(r"-?\d+(?:\.\d+)?", first_line(text))
    return bool(found) and float(found.group()) == float(want)


def opens_with(text: str, want: str) -> bool:
    """Whether the first line of text begins with `want` as whole words, in any case."""
    line = first_line(text)
    rest = line[len(want):len(want) + 1]
    return line[:len(want)].lower() == want.lower() and not rest.isalnum()


def first_line(text: str) -> str:
    """The first line that holds something, stripped of blanks and quotation marks."""
    lines = [line.strip(" \t\"'“”") for line in text.splitlines()]
    return next(filter(None, lines), "")


def couples(partners: Sequence[str], rng) -> list[tuple[int, int]]:
    """Items two by two, at random, with different partners; in false statements they swap them.

    Among the four statements of a couple every word is as common in lies as in truths. Were false
    partners merely permuted over all items, a word that was true in training could only be false
    in the test, and a probe of words would be right upside down.

    Raises:
        ValueError: for an odd number, or when more than half of the partners are the same.
    """
    n = len(partners)
    _, counts = np.unique(list(partners), return_counts=True)
    if n % 2 or 2 * counts.max() > n:
        raise ValueError(f"couples wants an even number of items, at most half of them with one "
                         f"partner; got {n}, {counts.max()} of them alike.")
    order = rng.permutation(n).reshape(-1, 2)

    def alike(pair):
        return partners[pair[0]] == partners[pair[1]]

    for pair in order:
        while alike(pair):
            other = order[rng.integers(len(order))]
            if partners[pair[1]] not in (partners[other[0]], partners[other[1]]):
                pair[1], other[0] = other[0], pair[1]
    return [(int(i), int(j)) for i, j in order]


def in_words(n: int) -> str:
    """A number from 20 to 99 in English words."""
    if not 20 <= n <= 99:
        raise ValueError(f"in_words writes numbers from 20 to 99; got {n}.")
    return _TENS[n // 10] + (f"-{_UNITS[n % 10]}" if n % 10 else "")


def statements(*, seed: int = 0) -> dict[str, Statements]:
    """Five tasks, 1,640 statements, half of them true; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    city = "The city of {0} is in {1}.", facts("cities").rows
    found = {
        "cities": _twins("cities", *city, rng),
        "capitals": _twins("capitals", "The capital of {0} is {1}.", facts("capitals").rows, rng),
        "Spanish": _twins("Spanish", "The Spanish word '{1}' means '{0}'.", facts("words").rows,
                          rng),
        "larger than": _larger(rng)}
    positive = found["cities"]
    found["negations"] = Statements(
        "negations", tuple(t.replace(" is in ", " is not in ") for t in positive.texts),
        1 - positive.y, positive.groups)
    return {name: found[name] for name in STATEMENTS}


def _twins(name, template, table, rng) -> Statements:
    items = table[:SIZES[name]]
    texts, y, groups = [], [], []
    for pair in couples([b for _, b in items], rng):
        (a, b), (c, d) = (items[k] for k in pair)
        texts += [template.format(*parts) for parts in ((a, b), (a, d), (c, d), (c, b))]
        y += [1, 0, 1, 0]
        groups += [f"{name}:{a} {c}"] * 4
    return Statements(name, tuple(texts), np.array(y), np.array(groups))


def _larger(rng) -> Statements:
    texts, y, groups, seen = [], [], [], set()
    while len(texts) < 2 * SIZES["larger than"]:
        a, b = (int(v) for v in sorted(rng.choice(np.arange(20, 100), 2, replace=False)))
        if (a, b) in seen:
            continue
        seen.add((a, b))
        words = in_words(a), in_words(b)
        texts += [f"{one} is larger than {other}.".capitalize()
                  for one, other in (words[::-1], words)]
        y += [1, 0]
        groups += [f"larger than:{a} {b}"] * 2
    return Statements("larger than", tuple(texts), np.array(y), np.array(groups))


def questions(*, seed: int = 0, n: int = 200) -> dict[str, Questions]:
    """Five tasks of at most n questions each, and the first once more in other words.

    There are only so many countries and irregular verbs: those tasks may be smaller. The same sum
    in other words shares its group with the sum.
    """
    rng = np.random.default_rng(seed)
    sums = _distinct(n, lambda: tuple(int(v) for v in rng.integers(10, 100, 2)))
    words = [a for a, _ in facts("words").rows]
    words = [words[k] for k in rng.permutation(len(words)) if len(words[k]) > 3][:n]
    letters = [(w, _letter(w, rng)) for w in words]
    pairs = _distinct(n, lambda: _decimals(rng))
    verbs = [v for v in facts("verbs").rows if v[0] not in ("go", "see")]
    capitals = [c for c in facts("capitals").rows if c[0] != "Italy"]
    add = [(f"{a} {b}", str(a + b)) for a, b in sums]

    def ask(name, template, rows, parts, number, table=""):
        rows = rows[:n]
        return Questions(name, tuple(template.format(*parts(*row)) for row in rows),
                         tuple(want for _, want in rows),
                         np.array([f"{table or name}:{item}" for item, _ in rows]), number)

    def two(item, _):
        return item.split(" ")

    found = [
        ask("addition", "24 + 13 = 37\n58 + 26 = 84\n{0} + {1} =", add, two, True),
        ask("capital", "The capital of Italy is Rome.\nThe capital of {0} is", capitals,
            lambda a, _: [a], False),
        ask("past tense", "Question: What is the past tense of go?\nAnswer: went\n"
            "Question: What is the past tense of {0}?\nAnswer:", verbs, lambda a, _: [a], False),
        ask("letters", "tree e 2\ndog o 1\nbanana a 3\napple p 2\ncat c 1\n{0} {1}",
            [(f"{w} {c}", str(w.count(c))) for w, c in letters], two, True),
        ask("decimals", "max(3.4, 5.12) = 5.12\nmax(7.9, 7.25) = 7.9\nmax({0}, {1}) =",
            [(f"{a} {b}", a if float(a) > float(b) else b) for a, b in pairs], two, True),
        ask(TWICE, "24+13=37, 58+26=84, {0}+{1}=", add, two, True, "addition")]
    return {q.name: q for q in found}


def _distinct(n, draw) -> list:
    found = {}
    while len(found) < n:
        found[draw()] = None
    return list(found)


def _letter(word, rng) -> str:
    """A letter of the word, one that occurs twice or more where there is one."""
    often = sorted({c for c in word if word.count(c) > 1})
    return str(rng.choice(often or sorted(set(word))))


def _decimals(rng) -> tuple[str, str]:
    """Two different decimals below ten, in half of the cases with the same whole part."""
    while True:
        whole = rng.integers(1, 10, 2)
        if rng.random() < 0.5:
            whole[1] = whole[0]
        parts = [str(rng.integers(1, 10 ** rng.integers(1, 3))) for _ in whole]
        a, b = (f"{w}.{p}" for w, p in zip(whole, parts, strict=True))
        if float(a) != float(b):
            return a, b


def split(tasks: Mapping[str, Statements | Questions], seed: int, *,
          train: float = 0.65) -> dict[str, np.ndarray]:
    """Which rows of each task are for training, boolean (n,); groups stay whole, across tasks.

    Args:
        tasks: what `statements` or `questions` gives, or some of it.
        train: fraction of each table's groups.
    """
    if not 0 < train < 1:
        raise ValueError(f"train is a share between 0 and 1; got {train}.")
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    tables: dict[str, list] = {}
    for group in sorted({g for task in tasks.values() for g in task.groups}):
        tables.setdefault(group.split(":")[0], []).append(group)
    for groups in tables.values():
        order = rng.permutation(len(groups))
        chosen |= {groups[k] for k in order[:round(train * len(groups))]}
    return {name: np.isin(task.groups, sorted(chosen)) for name, task in tasks.items()}
