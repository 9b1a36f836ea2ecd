"""Hidden states of every block, at the last token of a prompt or of an answer: never mixed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from otlab.language.hooks import hooked
from otlab.language.model import Tokens

POSITIONS = ("last prompt token", "last answer token")


@dataclass(frozen=True)
class Answers:
    """What a model answered greedily, and what it thought meanwhile.

    texts: answers, cut before the first line break or comma.   given, written: token ids.
    states: by position, (layers, n, d) in float16.
    confidence: mean log-probability of the written tokens, (n,).
    """

    texts: list[str]
    given: list[list[int]]
    written: list[list[int]]
    states: dict[str, np.ndarray]
    confidence: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of the prompt, tokens and letters of the answer, (n, 3)."""
        return np.array([[len(g), len(w), len(t.strip())] for g, w, t in
                         zip(self.given, self.written, self.texts, strict=True)])


@torch.no_grad()
def last_states(model, texts: Sequence[str] | Sequence[list[int]], *, layers: Sequence[int] = (),
                batch: int = 50) -> np.ndarray:
    """Outputs of blocks at the last token of each text, (layers, n, d) in float16.

    Args:
        model: a `language.model.LanguageModel`.
        texts: sentences, or lists of token ids.
        layers: from 1, the output of the first block, to the number of blocks, which is what the
            final norm has not seen yet; empty for all.

    Tokens that all texts of a batch begin with are read once.

    Raises:
        ValueError: for a layer that is not there.   OverflowError: where float16 is too small.

    Source: arXiv 2506.08572, section 3; layers are counted as in transformers' hidden_states,
    whose last one, however, is taken after the final norm.
    """
    blocks = chosen_blocks(model, layers)
    rows = [model.encode(text) if isinstance(text, str) else list(text) for text in texts]
    states = np.empty((len(blocks), len(rows), 0), np.float16)
    for some, tokens, cache in _batches(model, rows, batch):
        with _watched(model, blocks) as seen:
            model.run(tokens, cache)
        states = _filled(states, some, seen[-1])
    return states


@torch.no_grad()
def answer(model, prompts: Sequence[str], *, new: int = 6, layers: Sequence[int] = (),
           batch: int = 50) -> Answers:
    """Greedy answers of at most `new` tokens, with the states at both positions.

    Each answer ends before its first line break or comma. The state at the last answer token is
    read when that token itself has been fed back, one step after it was chosen.
    """
    blocks = chosen_blocks(model, layers)
    rows = [model.encode(prompt) for prompt in prompts]
    written: list[list[int]] = [[] for _ in rows]
    confidence = np.empty(len(rows))
    states = {name: np.empty((len(blocks), len(rows), 0), np.float16) for name in POSITIONS}
    for some, tokens, cache in _batches(model, rows, batch):
        with _watched(model, blocks) as seen:
            ids, logp = _greedy(model, tokens, cache, new)
        cut = [answer_length(row, model.decode) for row in ids]
        for k, row, size, gains in zip(some, ids, cut, logp, strict=True):
            written[k], confidence[k] = row[:size], np.mean(gains[:size])
        last = torch.stack([seen[size][:, b] for b, size in enumerate(cut)], 1)
        for name, value in zip(POSITIONS, (seen[0], last), strict=True):
            states[name] = _filled(states[name], some, value)
    return Answers([model.decode(w) for w in written], rows, written, states, confidence)


def _greedy(model, tokens: Tokens, cache, new: int):
    """Ids and log-probabilities of up to `new` likeliest tokens a row, each fed back once."""
    cache = model.new_cache() if cache is None else cache
    ids: list[list[int]] = [[] for _ in tokens.ids]
    logp: list[list[float]] = [[] for _ in tokens.ids]
    logits = model.run(tokens, cache)[:, -1].float()
    for _ in range(new):
        best, chosen = logits.log_softmax(-1).max(-1)
        for b, (token, gain) in enumerate(zip(chosen.tolist(), best.tolist(), strict=True)):
            ids[b].append(token)
            logp[b].append(gain)
        tokens = Tokens(torch.cat([tokens.ids, chosen[:, None]], 1),
                        torch.cat([tokens.mask, torch.ones_like(tokens.mask[:, :1])], 1))
        logits = model.run(tokens, cache)[:, -1].float()
        if all(answer_length(row, model.decode) < len(row) for row in ids):
            break
    return ids, logp


def answer_length(ids: Sequence[int], decode) -> int:
    """How many tokens stand before the first line break or comma after a visible letter; 1 or more.

    A token that holds the break itself does not count.
    """
    for k in range(1, len(ids) + 1):
        if set("\n,") & set(decode(ids[:k]).lstrip()):
            return max(1, k - 1)
    return len(ids)


def chosen_blocks(model, layers: Sequence[int]) -> list[str]:
    """Names of the blocks whose outputs are these layers, from 1; all of them if none is given."""
    blocks = model.blocks
    layers = list(layers) or list(range(1, len(blocks) + 1))
    if not set(layers) <= set(range(1, len(blocks) + 1)):
        raise ValueError(f"layers run from 1 to {len(blocks)}; got {layers}.")
    return [blocks[k - 1] for k in layers]


def shared_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with, leaving each at least one of its own."""
    most = min(map(len, rows)) - 1
    return next((k for k in range(most) if len({row[k] for row in rows}) > 1), most)


def _batches(model, rows, batch: int) -> Iterator[tuple[list[int], Tokens, list | None]]:
    """Rows of like length side by side: their numbers, tokens, and a cache that holds the prefix.

    Padding stands between the prefix and what is a row's own, where the mask hides it.
    """
    order = sorted(range(len(rows)), key=lambda k: len(rows[k]))
    for start in range(0, len(order), batch):
        some = order[start:start + batch]
        own = [rows[k] for k in some]
        cache, cut = model.new_cache(), shared_prefix(own)
        if not isinstance(cache, list) or cut == 0 or len(own) == 1:
            yield some, model.tokens(own), None
            continue
        prefix = model.tokens([own[0][:cut]])
        model.run(prefix, cache)
        for k, pair in enumerate(cache):
            cache[k] = tuple(part.expand(len(own), -1, -1, -1) for part in pair)
        rest = model.tokens([row[cut:] for row in own])
        yield some, Tokens(torch.cat([prefix.ids.expand(len(own), -1), rest.ids], 1),
                           torch.cat([prefix.mask.expand(len(own), -1), rest.mask], 1)), cache


@contextmanager
def _watched(model, blocks):
    """A list that gets (layers, B, d) of the last position at every run of the model."""
    seen: list[torch.Tensor] = []
    step: list[torch.Tensor] = []

    def look(z):
        step.append(z[:, -1].float().cpu())
        if len(step) == len(blocks):
            seen.append(torch.stack(step))
            step.clear()

    with hooked(model, dict.fromkeys(blocks, look)):
        yield seen


def _filled(states, some, value) -> np.ndarray:
    """The states with columns `some` set; made at their full width by the first value."""
    value = value.numpy()
    if (size := np.abs(value).max()) > np.finfo(np.float16).max:
        raise OverflowError(f"a hidden state of size {size:.1e} does not fit float16; leave that "
                            "layer out.")
    if states.shape[2] == 0:
        states = np.empty((*states.shape[:2], value.shape[2]), np.float16)
    states[:, some] = value
    return states
