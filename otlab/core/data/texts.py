"""Texts that the package carries: tables of facts, and sentences about a topic or about nothing."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np


@lru_cache
def _document(name: str) -> dict:
    return json.loads((resources.files(__package__) / f"{name}.json").read_text("utf-8"))


@dataclass(frozen=True)
class Facts:
    """Pairs that belong together, such as countries and their capitals.

    columns: what the two are.   rows: (item, partner), no item twice.
    left_out: what the table holds none of, and why; "" where there is nothing to say.
    """

    name: str
    columns: tuple[str, str]
    rows: tuple[tuple[str, str], ...]
    source: str
    licence: str
    left_out: str = ""


@lru_cache
def facts(table: str) -> Facts:
    """One table of facts: "capitals", "cities", "words" (English, Spanish) or "verbs" (past tense).

    Source: GeoNames (CC BY 4.0) for places, written for OT Lab (Apache-2.0) for words; in order of
    population where there is one.

    Raises:
        ValueError: for another table.
    """
    tables = _document("facts")["tables"]
    if table not in tables:
        raise ValueError(f"table must be one of {', '.join(tables)}; got {table!r}.")
    found = tables[table]
    return Facts(table, tuple(found["columns"]), tuple(map(tuple, found["rows"])),
                 found["source"], found["licence"], found.get("left_out", ""))


@dataclass(frozen=True)
class Concept:
    """A topic: sentences are subject + predicate, and a list of words gives it away.

    subjects, predicates: parts that fit together in every combination.
    words: strict: each is about the topic and hardly about anything else.
    """

    name: str
    subjects: tuple[str, ...]
    predicates: tuple[str, ...]
    words: tuple[str, ...]
    source: str
    licence: str

    @property
    def sentences(self) -> list[str]:
        """All combinations, in a fixed shuffled order."""
        whole = [f"{s} {p}." for s in self.subjects for p in self.predicates]
        return [whole[k] for k in np.random.default_rng(0).permutation(len(whole))]

    def presence(self, texts: Sequence[str]) -> np.ndarray:
        """Whether each text holds one of the words, as whole words and in any case, (n,) bool."""
        pattern = _any_of(self.words)
        return np.array([bool(pattern.search(text)) for text in texts])


@lru_cache
def _any_of(words: tuple[str, ...]) -> re.Pattern:
    """Finds any of the words in a text; where there are none, nothing."""
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b" if words else r"(?!)",
                      re.IGNORECASE)


def _concepts() -> dict[str, Concept]:
    document = _document("concepts")
    return {name: Concept(name, *(tuple(parts[key]) for key in ("subjects", "predicates", "words")),
                          document["source"], document["licence"])
            for name, parts in document["concepts"].items()}


CONCEPTS = _concepts()
NEUTRAL = CONCEPTS.pop("neutral")


def bags(concept: Concept, n: int, *, seed: int, source: Concept = NEUTRAL):
    """(n source sentences, n sentences of the concept), drawn without replacement.

    Raises:
        ValueError: when there are fewer than n of either.
    """
    drawn = []
    for k, c in enumerate((source, concept)):
        sentences = c.sentences
        if not 1 <= n <= len(sentences):
            raise ValueError(f"{c.name} has {len(sentences)} sentences; got n={n}.")
        order = np.random.default_rng([seed, k]).permutation(len(sentences))[:n]
        drawn.append([sentences[i] for i in order])
    return drawn
