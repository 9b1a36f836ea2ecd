"""Affine maps of activations, one scale and one shift a neuron: apply, invert, compose, save."""

import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from otlab.core.weights import load_arrays, save_arrays
from otlab.language.hooks import hooked

TOKENS = ("all", "last")
VECTORS = ("omega", "beta", "low", "high")
FORMER_KEY = "otlab.maps"


@dataclass(frozen=True)
class Affine:
    """T(z) = omega z + beta on each neuron, where low < z < high; elsewhere T(z) = z.

    omega, beta: (d,).   low, high: (d,), or None for the whole line.
    """

    omega: torch.Tensor
    beta: torch.Tensor
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None

    def __post_init__(self):
        shapes = {tuple(v.shape) for v in (self.omega, self.beta, self.low, self.high)
                  if v is not None}
        if len(shapes) != 1 or self.omega.ndim != 1:
            raise ValueError(f"an affine map holds vectors of one length; got shapes {shapes}.")
        if not all(bool(torch.isfinite(v).all()) for v in (self.omega, self.beta)):
            raise ValueError("omega or beta holds NaN or infinity; were the samples finite?")

    def __call__(self, z, strength: float = 1.0):
        """(1 - strength) z + strength T(z), (..., d): McCann's interpolation at fixed strength.

        Computed in float32, given back in the type of z. Source: arXiv 2410.23054, section 3.2.
        """
        x = z.float()
        scale = 1 + strength * (self.omega.to(x) - 1)
        new = torch.addcmul(strength * self.beta.to(x), x, scale)
        if self.low is not None:
            new = torch.where((x > self.low.to(x)) & (x < self.high.to(x)), new, x)
        return new.to(z.dtype)

    def inverse(self) -> "Affine":
        """The map that undoes this one; the guard moves along.

        Raises:
            ValueError: where omega is zero or negative, so that order is not kept.
        """
        bad = int((self.omega <= 0).sum())
        if bad:
            raise ValueError(f"{bad} of {len(self.omega)} scales are not positive: no monotone "
                             "inverse. Fit with method='linear' or clamp omega.")
        low, high = (None if v is None else self.omega * v + self.beta
                     for v in (self.low, self.high))
        return Affine(1 / self.omega, -self.beta / self.omega, low, high)

    def then(self, other: "Affine") -> "Affine":
        """other after this one, as one map; refused when either has a guard."""
        if self.low is not None or other.low is not None:
            raise ValueError("guarded maps compose to more than one slope; nest `steer` blocks "
                             "instead: with steer(model, a), steer(model, b): …")
        return Affine(other.omega * self.omega, other.omega * self.beta + other.beta)

    def folded(self, strength: float) -> "Affine":
        """The interpolated map as a map of its own, ready to be folded into a linear layer."""
        return replace(self, omega=1 + strength * (self.omega - 1), beta=strength * self.beta)


@dataclass(frozen=True)
class Maps(Mapping):
    """One `Affine` for each named module, and where they come from.

    info: method, model, sample sizes, seed: what JSON holds.   tokens: "all", or "last" for
    baselines that act at the last token only.   first: whether the first token is moved too.
    """

    modules: dict[str, Affine]
    info: dict = field(default_factory=dict)
    tokens: str = "all"
    first: bool = False

    def __getitem__(self, name):
        return self.modules[name]

    def __iter__(self):
        return iter(self.modules)

    def __len__(self):
        return len(self.modules)

    def only(self, names) -> "Maps":
        """The maps of some modules."""
        return replace(self, modules={name: self.modules[name] for name in names})

    def inverse(self) -> "Maps":
        """Every map inverted: target to source."""
        return replace(self, modules={k: m.inverse() for k, m in self.items()},
                       info=self.info | {"inverse": not self.info.get("inverse", False)})

    def then(self, other: "Maps") -> "Maps":
        """other after this one; a module that only one of them maps keeps that map."""
        both = dict(other.modules)
        for name, first in self.items():
            both[name] = first.then(other[name]) if name in other else first
        return replace(self, modules=both, info={"first": self.info, "then": other.info})

    def save(self, path) -> Path:
        """Write a safetensors file: vectors as float32, `info` beside them.

        Raises:
            ValueError: when there is no map, or `info` is not what JSON can hold.
        """
        vectors = {f"{name}|{part}": getattr(m, part).detach().float().cpu().numpy()
                   for name, m in self.items() for part in VECTORS if getattr(m, part) is not None}
        if not vectors:
            raise ValueError("there is no map to save.")
        head = {"info": self.info, "tokens": self.tokens, "first": self.first}
        return save_arrays(path, vectors, head)

    @classmethod
    def load(cls, path) -> "Maps":
        """Read what `save` wrote, maps in the order of their names' numbers.

        Raises:
            FileNotFoundError: when nothing was saved there.
            ValueError: when the file is cut, or holds something else.
        """
        vectors, head = load_arrays(path, what="maps", former_key=FORMER_KEY)
        parts: dict[str, dict] = {}
        for key, vector in vectors.items():
            name, _, part = key.rpartition("|")
            parts.setdefault(name, {})[part] = torch.tensor(vector)
        whole = all({"omega", "beta"} <= set(p) <= set(VECTORS) for p in parts.values())
        if set(head) != {"info", "tokens", "first"} or not whole:
            raise ValueError(f"{path} holds no maps but {', '.join(sorted(vectors)[:2])}, …; name "
                             "a file that Maps.save wrote.")
        return cls({name: Affine(**parts[name]) for name in sorted(parts, key=_numbers_first)},
                   **head)


def _numbers_first(name: str):
    """Key that sorts layers.2 before layers.10, and numbers before words."""
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"\.", name)]


@contextmanager
def steer(model, maps: Maps, strength: float = 1.0):
    """While the block runs, the model's activations are moved along the maps.

    Args:
        model: a `language.model.LanguageModel`, or anything with `.net` and `.positions`.
        maps: from a `fit` or `Maps.load`; their `tokens` and `first` say which tokens move.
        strength: 0 is the model itself, bit for bit; 1 arrives at the target distribution; beyond
            1 and below 0 are allowed and extrapolate.

    Blocks nest: the outer maps act first. Works with a key-value cache and with batches of unequal
    length; padding is never moved.

    Source: arXiv 2410.23054, section 3.2.
    """
    if strength != strength or abs(strength) == float("inf"):
        raise ValueError(f"strength must be a finite number; got {strength}.")
    if maps.tokens not in TOKENS:
        raise ValueError(f"tokens must be one of {', '.join(TOKENS)}; got {maps.tokens!r}.")
    if strength == 0:
        yield
        return

    def mover(affine):
        ready = {}

        def move(z):
            if (z.dtype, z.device) not in ready:
                ready[z.dtype, z.device] = _prepared(affine, strength, z.device)
            new = ready[z.dtype, z.device](z)
            keep = untouched(model.positions, maps)
            return new if keep is None else torch.where(keep[..., None], z, new)

        return move

    with hooked(model, {name: mover(affine) for name, affine in maps.items()}):
        yield


def _prepared(affine: Affine, strength: float, device):
    """The interpolated map as a function of z alone, its vectors on the device once for all."""
    vectors = {part: None if getattr(affine, part) is None
               else getattr(affine, part).to(device, torch.float32)
               for part in VECTORS}
    still = Affine(**vectors)
    if still.low is not None:
        return lambda z: still(z, strength)
    scale, shift = 1 + strength * (still.omega - 1), strength * still.beta
    return lambda z: torch.addcmul(shift, z.float(), scale).to(z.dtype)


def untouched(positions, maps: Maps):
    """Which tokens of a call keep their activations, (B, T); None when all of them move."""
    if positions is None:
        return None
    keep = None
    if not maps.first and bool((positions <= 0).any()):
        keep = positions <= 0
    elif bool((positions < 0).any()):
        keep = positions < 0
    if maps.tokens == "last" and positions.shape[1] > 1:
        last = torch.zeros_like(positions, dtype=torch.bool)
        last[:, -1] = True
        keep = ~last if keep is None else keep | ~last
    return keep
