"""Bags of sentences about a concept and about nothing in particular, and a way to find it again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


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

    @property
    def sentences(self) -> list[str]:
        """All combinations, in a fixed shuffled order."""
        whole = [f"{s} {p}." for s in self.subjects for p in self.predicates]
        return [whole[k] for k in np.random.default_rng(0).permutation(len(whole))]

    def presence(self, texts: Sequence[str]) -> np.ndarray:
        """Whether each text holds one of the words, as whole words and in any case, (n,) bool."""
        return np.array([bool(self._pattern.search(text)) for text in texts])

    @property
    def _pattern(self):
        return _pattern(self.words)


@lru_cache
def _pattern(words):
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)


NEUTRAL = Concept(
    "neutral",
    ("The letter on the table", "My neighbour", "The report from last week", "A small shop",
     "The teacher", "This old chair", "The committee", "Our plan for the summer", "The road",
     "A visitor from the north", "The new rule", "Her brother", "The garden", "That question",
     "The office", "His first idea", "The library", "An answer", "The house next door",
     "A friend of ours"),
    ("was not what we expected", "needs a little more time", "has changed since then",
     "seemed quite ordinary", "will be discussed tomorrow", "came up in the conversation",
     "was mentioned in the morning", "is easy to describe", "made everyone think again",
     "took longer than planned", "looked the same as before", "was left for another day",
     "is known to most people here", "turned out to be useful", "was described in a few words",
     "had a simple explanation"),
    ())

CONCEPTS = {c.name: c for c in (
    Concept(
        "football",
        ("The striker", "The goalkeeper", "Our football team", "The midfielder", "The coach",
         "The referee", "The home crowd", "The captain", "The young defender", "The winger",
         "The football club", "The substitute", "The national team", "The manager",
         "Every fan", "The left back"),
        ("waited for the final whistle of the match", "dreamed of winning the league",
         "talked about the penalty kick", "celebrated the late goal", "prepared for the cup final",
         "trained on the pitch all week", "argued about the offside call",
         "remembered the goal in extra time", "played a great first half",
         "watched the ball hit the crossbar", "lost the match by two goals",
         "cheered when the ball crossed the line", "moved up the league table",
         "practised free kicks before the game", "scored twice in the second half",
         "kissed the trophy after the final"),
        ("football", "soccer", "goal", "goals", "goalkeeper", "striker", "midfielder", "penalty",
         "referee", "league", "fifa", "footballer", "stadium", "offside", "match", "coach")),
    Concept(
        "ocean",
        ("The captain of the ship", "A grey whale", "The fisherman", "The coral reef",
         "A school of dolphins", "The lighthouse keeper", "The diver", "The old sailor",
         "The harbour", "A sea turtle", "The rising tide", "The sailing boat", "The island",
         "A strong current", "The submarine", "The lonely seagull"),
        ("met the waves of the open ocean", "disappeared below the sea", "waited for high tide",
         "rested near the shore", "followed the coast to the south", "crossed the deep water",
         "heard the surf at night", "drifted over the reef", "was covered with salt and foam",
         "returned from a long voyage", "watched the sunset over the sea", "fought the storm waves",
         "lived close to the sandy beach", "sailed around the bay", "sank to the ocean floor",
         "smelled of seaweed and fish"),
        ("ocean", "sea", "waves", "wave", "tide", "reef", "coral", "ship", "sailor", "whale",
         "dolphin", "shore", "beach", "coast", "boat", "harbour", "harbor", "fish")),
    Concept(
        "cooking",
        ("The chef", "My grandmother", "The baker", "The soup on the stove", "The fresh dough",
         "A good recipe", "The restaurant kitchen", "The roasted chicken", "The apple pie",
         "The cook", "This tomato sauce", "The family dinner", "The curry", "The warm bread",
         "A pot of beans", "The vegetable stew"),
        ("needed a pinch of salt", "simmered with garlic and onions", "came out of the oven",
         "was served with butter and herbs", "smelled of cinnamon and sugar",
         "called for two cups of flour", "was cooked slowly in olive oil",
         "tasted better with pepper", "filled the kitchen with steam", "was seasoned with basil",
         "burned a little in the pan", "was ready for the dinner guests",
         "got its flavour from fresh spices", "was baked until golden brown",
         "went well with rice and cheese", "was sliced and eaten hot"),
        ("recipe", "cook", "cooked", "cooking", "kitchen", "oven", "chef", "baked", "dish", "sauce",
         "soup", "flavor", "flavour", "ingredients", "delicious", "garlic", "butter", "dinner")),
    Concept(
        "space",
        ("The astronaut", "The rocket", "A distant galaxy", "The space station", "The telescope",
         "The lunar module", "A bright comet", "The probe", "The planet Mars", "The satellite",
         "The astronomer", "A dying star", "The crew of the shuttle", "The rover",
         "The ring of Saturn", "Mission control"),
        ("orbited the Earth for a year", "drifted among the stars", "was seen from the Moon",
         "left for the outer planets", "sent images of Jupiter", "crossed the solar system",
         "waited for the launch", "floated in zero gravity", "glowed in the night sky",
         "landed on a cold asteroid", "measured the light of a supernova",
         "passed behind the black hole", "was named after a constellation",
         "circled the red planet", "watched the sun rise over the orbit",
         "travelled at the speed of light"),
        ("space", "planet", "planets", "stars", "galaxy", "orbit", "astronaut", "astronauts",
         "rocket", "moon", "mars", "universe", "nasa", "spaceship", "spacecraft", "telescope",
         "solar", "asteroid")),
    Concept(
        "music",
        ("The violinist", "The orchestra", "The jazz band", "A young pianist", "The choir",
         "The guitar player", "The composer", "The old song", "The drummer", "The opera singer",
         "The conductor", "This symphony", "The melody", "The concert", "The quartet",
         "The trumpet"),
        ("filled the concert hall", "was in the key of C minor", "played the slow movement",
         "rehearsed the second verse", "followed the rhythm of the drums",
         "was recorded in a studio", "ended on a quiet chord", "was loved for its harmony",
         "repeated the chorus twice", "tuned up before the show", "was heard on the new album",
         "improvised over the bass line", "opened the music festival", "sang to the piano",
         "kept perfect tempo", "was written for strings"),
        ("music", "song", "songs", "melody", "orchestra", "band", "guitar", "piano", "violin",
         "concert", "singer", "sang", "singing", "musician", "musicians", "album", "tune",
         "choir")),
)}


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
