"""Causal conditioners: networks whose i-th output has read the patches before the i-th only."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.core.inputs import positive_int
from otlab.learning.nets import initial
from otlab.learning.nets.attention import causal_mask
from otlab.learning.nets.dense import Dense
from otlab.learning.nets.transformer import Layer, Norm, Transformer


class CausalMLP(eqx.Module):
    """One MLP for all patches after the first, which reads zeros in place of what lies ahead.

    The outputs for the first patch are free numbers. In the plane with patches of one
    coordinate this is an MLP of the first coordinate, and nothing more.

    Args:
        patches, size: number of patches T and numbers in a patch p.
        width, depth: units of a hidden layer, and hidden layers.
        key: PRNG key. The last layer starts at zero.
    """

    first: Float[Array, "2 p"]
    mlp: eqx.nn.MLP
    patches: int = eqx.field(static=True)

    def __init__(self, patches: int, size: int, width: int = 48, depth: int = 2, *, key):
        self.patches = positive_int("patches", patches, least=2)
        size = positive_int("size", size)
        places = self.patches - 1 if self.patches > 2 else 0
        mlp = initial.mlp((self.patches - 1) * size + places, 2 * size,
                          positive_int("width", width), positive_int("depth", depth),
                          activation=jax.nn.silu, key=key)
        self.mlp = eqx.tree_at(lambda m: (m.layers[-1].weight, m.layers[-1].bias), mlp,
                               replace_fn=jnp.zeros_like)
        self.first = jnp.zeros((2, size))

    def __call__(self, h: Float[Array, "T p"], label=None) -> Float[Array, "T 2 p"]:
        """Log-scales [:, 0] and shifts [:, 1] of all patches at once."""
        rest = jax.vmap(lambda i: self._read(h[:-1], i))(jnp.arange(1, self.patches))
        return jnp.concatenate([self.first[None], rest])

    def start(self) -> Float[Array, "T-1 p"]:
        """The patches known before the first: none, written as zeros."""
        return jnp.zeros((self.patches - 1, self.first.shape[1]), self.first.dtype)

    def one(self, known, i, last, label=None):
        """(known, outputs (2, p)) of patch i once patch i - 1 turned out to be `last`."""
        known = known.at[jnp.where(i > 0, i - 1, self.patches)].set(last, mode="drop")
        return known, jnp.where(i > 0, self._read(known, i), self.first)

    def _read(self, known, i):
        """Outputs (2, p) of patch i from the patches before it."""
        places = jnp.arange(1, self.patches)
        seen = jnp.where((places <= i)[:, None], known, 0).reshape(-1)
        if self.patches > 2:
            seen = jnp.concatenate([seen, (places == i).astype(seen.dtype)])
        return self.mlp(seen).reshape(2, -1)


class CausalTransformer(eqx.Module):
    """A transformer over patches, moved one place to the right behind a learned first token.

    Args:
        patches, size: number of patches T and numbers in a patch p.
        width, layers, heads: of the transformer; width is a multiple of heads.
        classes: None, or the number of labels; a label is added to every token.
        key: PRNG key. The last layer starts at zero.

    Source: TarFlow (Zhai et al., 2024, arXiv 2412.06329); sheet of arXiv 2603.09014, section 3.1.
    """

    embed: Dense
    places: Float[Array, "T w"]
    labels: Float[Array, "classes w"] | None
    layers: list[Layer]
    head: Dense
    size: int = eqx.field(static=True)

    def __init__(self, patches: int, size: int, width: int = 48, layers: int = 2, heads: int = 4,
                 classes: int | None = None, *, key):
        patches, self.size = positive_int("patches", patches, least=2), positive_int("size", size)
        key_embed, key_places, key_labels, *keys = initial.split(
            key, 3 + positive_int("layers", layers))
        self.embed = Dense(self.size, width, key=key_embed)
        self.places = initial.normal(key_places, (patches, width), scale=0.3)
        self.labels = None
        if classes is not None:
            self.labels = initial.normal(key_labels, (positive_int("classes", classes), width),
                                         scale=0.3)
        heads = positive_int("heads", heads)
        self.layers = [Layer(width, heads, affine=False, write_scale=0.3, key=k) for k in keys]
        self.head = Dense(width, 2 * self.size, scale=0.0, key=key_embed)

    def __call__(self, h: Float[Array, "T p"],
                 label: Int[Array, ""] | None = None) -> Float[Array, "T 2 p"]:
        """Log-scales [:, 0] and shifts [:, 1] of all patches at once."""
        x = jnp.concatenate([jnp.zeros_like(self.places[:1]), self.embed(h[:-1])])
        x = x + self._given(self.places, label)
        x = self.trunk(x, causal_mask(len(h)))
        return self.head(x).reshape(len(h), 2, -1)

    @property
    def trunk(self) -> Transformer:
        """The layers and the norm after them. Saved weights know them as `.layers`, no deeper."""
        return Transformer(self.layers, Norm("layer"))

    def start(self) -> list[tuple[Float[Array, "T heads c"], Float[Array, "T heads c"]]]:
        """Empty keys and values of every layer."""
        return self.trunk.cache(len(self.places), self.places.dtype)

    def one(self, cache, i, last, label=None):
        """(cache, outputs (2, p)) of patch i once patch i - 1 turned out to be `last`."""
        x = jnp.where(i > 0, self.embed(last), 0) + self._given(self.places[i], label)
        seen = causal_mask(len(self.places), i[None])
        x, cache = self.trunk.extend(cache, i, x[None], seen)
        return cache, self.head(x[0]).reshape(2, -1)

    def _given(self, places, label):
        if (label is None) != (self.labels is None):
            wants = "no label" if self.labels is None else f"a label below {len(self.labels)}"
            raise ValueError(f"this flow wants {wants}; got label={label}.")
        return places if label is None else places + self.labels[label]
