"""Small random language models of both kinds, with one letter a token."""

from functools import lru_cache

import torch

from otlab.language.llama import Llama, Shape
from otlab.language.model import LanguageModel, wrap

LETTERS = "\0abcdefghijklmnopqrstuvwxyz .,"


def encode(text):
    return [LETTERS.index(c) for c in text]


def decode(ids):
    return "".join(LETTERS[k] for k in ids if k)


class Letters:
    """What `wrap` needs of a tokenizer."""

    eos_token_id, pad_token_id = 0, 0

    def __call__(self, text):
        return {"input_ids": encode(text)}

    def decode(self, ids, skip_special_tokens=True):
        return decode(ids)


@lru_cache
def tiny(dtype=torch.float32):
    """Four blocks of width 32; random weights, large enough that blocks matter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Llama(Shape(4, 32, 4, 2, 48, len(LETTERS)))
        for p in net.parameters():
            if p.ndim == 2:
                torch.nn.init.normal_(p, std=0.3)
    net = net.requires_grad_(False).eval().to(dtype)
    return LanguageModel(net, "tiny", encode, decode, pad=0, end=None)


@lru_cache
def hugging_face(kind):
    """A random model of transformers from a tiny configuration; nothing is downloaded."""
    import transformers as tf

    sizes = dict(vocab_size=len(LETTERS), hidden_size=32, intermediate_size=48,
                 num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                 max_position_embeddings=64, pad_token_id=0, bos_token_id=None, eos_token_id=0)
    config = {"llama": tf.LlamaConfig, "qwen": tf.Qwen2Config, "gemma": tf.Gemma2Config}[kind]
    extra = {"head_dim": 8, "query_pre_attn_scalar": 8} if kind == "gemma" else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = tf.AutoModelForCausalLM.from_config(config(**sizes, **extra),
                                                  attn_implementation="eager")
    return wrap(net.float(), Letters(), kind)
