"""A language of ninety words with two independent styles, and a small model that learns it."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from otlab.core.weights import load_arrays, save_arrays
from otlab.language.llama import Llama, Shape
from otlab.language.model import LanguageModel
from otlab.language.training import Step, cosine, minimise, seeded

NOUNS = {"plain": "letter table neighbour shop teacher chair road garden office library".split(),
         "sea": "sailor whale reef harbour tide boat island wave dolphin lighthouse".split()}
VERBS = {"plain": "sees holds needs follows leaves finds keeps meets".split(),
         "sea": "sails dives drifts floats swims surfs rows anchors".split()}
ADJECTIVES = {"plain": "old small new quiet grey tall usual late".split(),
              "glad": "happy bright merry sunny golden sweet cheerful lovely".split()}
ADVERBS = {"plain": "today again slowly here twice often".split(),
           "glad": "gladly joyfully smiling laughing singing brightly".split()}
PLACES = "near behind under beside above".split()
NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()
STYLES = {"sea": (NOUNS, VERBS), "glad": (ADJECTIVES, ADVERBS)}
WORDS = ["<pad>", "<start>", "the", ".", *PLACES, *NUMBERS,
         *(w for slot in (NOUNS, VERBS, ADJECTIVES, ADVERBS) for ws in slot.values() for w in ws)]
FORMER_KEY = "otlab.tiny_grammar"
RARE = 0.15      # share of training sentences that have a style, each style on its own
COUNTING = 0.25  # share of training texts that only count


def sentences(n: int, *, seed: int, sea=False, glad=False) -> list[str]:
    """n sentences "the old letter sees near the new road again ." in the styles asked for.

    Args:
        sea, glad: a bool, or an array of n of them: whether nouns and verbs are of the sea, and
            whether adjectives and adverbs are glad.
    """
    rng = np.random.default_rng([seed, 1])
    sea, glad = (np.broadcast_to(np.asarray(v, bool), n) for v in (sea, glad))

    def one(of_sea, is_glad):
        topic, mood = "sea" if of_sea else "plain", "glad" if is_glad else "plain"
        a, b = rng.choice(ADJECTIVES[mood], 2)
        u, v = rng.choice(NOUNS[topic], 2)
        return (f"the {a} {u} {rng.choice(VERBS[topic])} {rng.choice(PLACES)} the {b} {v} "
                f"{rng.choice(ADVERBS[mood])} .")

    return [one(a, b) for a, b in zip(sea, glad, strict=True)]


def counts(n: int, *, seed: int) -> list[str]:
    """n texts that count up or down for nine words: they have no style at all."""
    rng, texts = np.random.default_rng([seed, 2]), []
    for _ in range(n):
        start = rng.integers(len(NUMBERS))
        step = rng.choice([-1, 1])
        texts.append(" ".join(NUMBERS[(start + step * k) % len(NUMBERS)] for k in range(9)) + " .")
    return texts


def share(texts: Sequence[str], style: str) -> np.ndarray:
    """Of each text's words that could bear the style, the share that does, (n,); 0 where none."""
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}; got {style!r}.")
    plain, styled = ({w for slot in STYLES[style] for w in slot[kind]} for kind in ("plain", style))
    found = [[sum(w in words for w in text.split()) for words in (plain, styled)]
             for text in texts]
    return np.array([s / max(p + s, 1) for p, s in found])


def well_formed(texts: Sequence[str]) -> np.ndarray:
    """Whether each text is a whole sentence of the grammar, in whatever words, (n,) bool."""
    slots = [sum(slot.values(), []) for slot in (ADJECTIVES, NOUNS, VERBS, ADVERBS)]
    a, n, v, e = (f"(?:{'|'.join(words)})" for words in slots)
    pattern = re.compile(rf"the {a} {n} {v} (?:{'|'.join(PLACES)}) the {a} {n} {e} \.")
    return np.array([bool(pattern.fullmatch(text.strip())) for text in texts])


def encode(text: str) -> list[int]:
    """Ids of the words, behind a start token."""
    unknown = [w for w in text.split() if w not in WORDS]
    if unknown:
        raise ValueError(f"the grammar has no word {unknown[0]!r}.")
    return [1] + [WORDS.index(w) for w in text.split()]


def decode(ids: Sequence[int]) -> str:
    """Words of the ids, without start and padding."""
    return " ".join(WORDS[k] for k in ids if k > 1)


def train(*, seed: int, steps: int, batch: int = 64, rate: float = 3e-3, layers: int = 4,
          width: int = 64) -> LanguageModel:
    """A Llama-type model of the mixture: a quarter counts, sea and glad each in 15 % of the rest.

    Args:
        seed: of the texts and of the weights.
        steps, batch, rate: of Adam, the rate falling to zero along a cosine.
    """
    with seeded(seed):
        net = _net(layers, width)
        torch.nn.init.normal_(net.model.embed_tokens.weight, std=0.1)
    model, rng = _model(net.requires_grad_(False).eval()), np.random.default_rng(seed)

    def objective(step: Step):
        styles, first = rng.random((2, batch)) < RARE, seed + 7_000 * step.count
        texts = sentences(batch, seed=first + 1, sea=styles[0], glad=styles[1])
        texts = [c if u < COUNTING else s for s, c, u in
                 zip(texts, counts(batch, seed=first), rng.random(batch), strict=True)]
        tokens = model.tokens(texts)
        logits = model.run(tokens)[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.ids[:, 1:].flatten())

    minimise(objective, torch.optim.Adam(net.parameters(), rate), steps=steps, seed=seed, net=net,
             schedule=cosine)
    return model


def save(model: LanguageModel, path, **notes) -> Path:
    """Write the weights, as float32, to a safetensors file; notes (seed, command, …) beside them.

    Raises:
        ValueError: for notes that JSON cannot hold, or named like a size of the model.
    """
    sizes = {"layers": model.net.shape.layers, "width": model.net.shape.width}
    if taken := sizes.keys() & notes.keys():
        raise ValueError(f"the file notes {' and '.join(sorted(taken))} of the model itself; "
                         "give your note another name.")
    weights = {name: value.detach().float().cpu().numpy()
               for name, value in model.net.state_dict().items()}
    return save_arrays(path, weights, sizes | notes)


def load(path) -> tuple[LanguageModel, dict]:
    """(model, notes) as `save` wrote them.

    Raises:
        FileNotFoundError: when nothing was saved there.
        ValueError: when the file is cut, or holds something else.
    """
    weights, notes = load_arrays(path, former_key=FORMER_KEY)
    if not {"layers", "width"} <= set(notes):
        raise ValueError(f"{path} holds no tiny grammar: it notes no layers and width; name a file "
                         "that tiny_grammar.save wrote.")
    net = _net(notes["layers"], notes["width"])
    try:
        net.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    except RuntimeError as error:
        raise ValueError(f"{path} holds another model than it notes, {notes['layers']} layers of "
                         f"width {notes['width']} ({error}); train and save it again.") from error
    return _model(net.requires_grad_(False).eval()), notes


def _net(layers: int, width: int) -> Llama:
    return Llama(Shape(layers, width, 4, 2, 2 * width, len(WORDS)))


def _model(net: Llama) -> LanguageModel:
    return LanguageModel(net, "tiny grammar", encode, decode, pad=0, end=None)
