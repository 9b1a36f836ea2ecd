"""A Llama-type causal language model in plain torch, with a key-value cache."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama-type model.

    layers, width: blocks and residual width d.   heads, kv_heads: of queries, of keys and values.
    hidden: units of the feed-forward part.   vocabulary: tokens.   rope_base: of the rotary angles.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int
    rope_base: float = 10_000.0
    epsilon: float = 1e-5

    def __post_init__(self):
        if self.width % self.heads or self.heads % self.kv_heads:
            raise ValueError(f"width {self.width} must divide by heads {self.heads}, and heads by "
                             f"kv_heads {self.kv_heads}.")


class RMSNorm(nn.Module):
    """x / sqrt(mean x^2 + epsilon) times a weight, in float32 whatever the model's type."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(width)), epsilon

    def forward(self, x):
        z = x.float()
        z = z * torch.rsqrt(z.square().mean(-1, keepdim=True) + self.epsilon)
        return self.weight * z.to(x.dtype)


class Attention(nn.Module):
    """Causal attention with rotary positions; key and value heads serve several query heads."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape, size = shape, shape.width // shape.heads
        self.q_proj = nn.Linear(shape.width, shape.heads * size, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.kv_heads * size, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.kv_heads * size, bias=False)
        self.o_proj = nn.Linear(shape.heads * size, shape.width, bias=False)

    def forward(self, x, angles, mask, past):
        B, T, _ = x.shape
        heads, size = self.shape.heads, self.shape.width // self.shape.heads
        q = self.q_proj(x).view(B, T, heads, size).transpose(1, 2)
        k = self.k_proj(x).view(B, T, -1, size).transpose(1, 2)
        v = self.v_proj(x).view(B, T, -1, size).transpose(1, 2)
        q, k = _rotate(q, *angles), _rotate(k, *angles)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask,
                                           enable_gqa=self.shape.kv_heads < heads)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1)), (k, v)


def _rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class MLP(nn.Module):
    """The gated feed-forward part: down(silu(gate x) * up x)."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Attention and feed-forward, each added to the residual stream; returns the stream alone."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.input_layernorm = RMSNorm(shape.width, shape.epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.width, shape.epsilon)
        self.mlp = MLP(shape)

    def forward(self, x, angles, mask, cache, k):
        past = cache[k] if cache is not None and k < len(cache) else None
        y, new = self.self_attn(self.input_layernorm(x), angles, mask, past)
        x = x + y
        if cache is not None:
            cache[k:k + 1] = [new]
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, blocks and the last norm."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.epsilon)


class Llama(nn.Module):
    """Logits of token sequences; modules bear the names that transformers gives them.

    The output layer is tied to the embedding. `forward(ids, mask, positions, cache)`:
    ids (B, T); mask (B, S) true at real tokens, S = T plus the cached length; positions (B, T);
    cache None, or the list that an earlier call filled, extended in place ([] to begin one).
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        size = shape.width // shape.heads
        powers = torch.arange(0, size, 2, dtype=torch.float64) / size
        self.register_buffer("speeds", (shape.rope_base ** -powers).float(), persistent=False)

    def forward(self, ids, mask, positions, cache=None):
        x = self.model.embed_tokens(ids)
        angle = positions[:, None, :, None].float() * self.speeds  # (B, 1, T, size / 2)
        angle = torch.cat([angle, angle], -1)
        angles = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        S, T = mask.shape[1], ids.shape[1]
        order = torch.arange(S, device=ids.device)
        seen = (order <= order[S - T:, None]) & mask[:, None, None, :].bool()
        # A padded row sees itself, so that no softmax is empty.
        seen = seen | (order == order[S - T:, None])
        for k, block in enumerate(self.model.layers):
            x = block(x, angles, seen, cache, k)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)
