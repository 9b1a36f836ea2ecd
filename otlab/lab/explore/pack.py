"""Scenes as a small header and a block of bytes: what travels to the front end.

Coordinates are rounded to a grid twice as fine as the pixels of a panel 2,400 pixels wide,
and colours to 256 shades; each distinct array is stored once. On a log axis it is the
logarithm that is rounded. The same code serves both roads: a kernel sends one block per
state, a built page holds one compressed block for all of them.
"""

from __future__ import annotations

import json
import zlib

import numpy as np

from otlab.lab.scene.areas import Bars, Heatmap, Images
from otlab.lab.scene.marks import Labels, Lines, Paths, Points, Rule, Segments, name_of
from otlab.lab.scene.numbers import tidy
from otlab.lab.scene.panels import Panel, Scene

PIXELS = 2400  # the widest panel for which the error stays within half a pixel
BEYOND = 8  # spans outside of the limits at which coordinates are cut off
PAD = 0.04  # free space around data whose limits were not given


class Packer:
    """Collects arrays in one block of bytes, each distinct array once."""

    def __init__(self):
        self.block = bytearray()
        self.seen: dict[bytes, int] = {}

    def _store(self, q: np.ndarray) -> int:
        """Offset of the array; of 16-bit numbers all low bytes come first, which packs better."""
        planes = [q & 255, q >> 8] if q.dtype == np.uint16 else [q]
        data = b"".join(plane.astype(np.uint8).tobytes() for plane in planes)
        if data not in self.seen:
            self.seen[data] = len(self.block)
            self.block += data
        return self.seen[data]

    def coordinates(self, values: np.ndarray, limits: tuple[float, float]) -> dict:
        """Rounded to half a pixel of an axis with these limits."""
        low, high = limits
        span = high - low
        values = np.clip(values.ravel(), low - BEYOND * span, high + BEYOND * span)
        if not len(values):
            return {"at": 0, "n": 0, "bytes": 1, "lo": 0, "step": 0}
        lo, hi = float(values.min()), float(values.max())
        levels = int(np.clip(np.ceil((hi - lo) / span * PIXELS), 1, 65535))
        return self._rounded(values, lo, hi, levels)

    def shades(self, values: np.ndarray, limits: tuple[float, float]) -> dict:
        """Rounded to 256 steps between the limits of a colour scale."""
        low, high = limits
        return self._rounded(np.clip(values.ravel(), low, high), low, high, 255)

    def _rounded(self, values, lo, hi, levels) -> dict:
        step = (hi - lo) / levels
        q = np.round((values - lo) / step) if step > 0 else np.zeros(len(values))
        wide = levels > 255
        at = self._store(q.astype(np.uint16 if wide else np.uint8))
        return {"at": at, "n": len(values), "bytes": 1 + wide, "lo": lo, "step": step}


class Limits:
    """Axis and colour limits that hold every scene seen, so that nothing jumps between states."""

    def __init__(self):
        self.shape = None  # the panels and marks of the first scene
        self.axes: dict = {}  # (panel, "x" or "y") or (panel, mark) -> [low, high]
        self.given: dict = {}

    def see(self, scene: Scene):
        """Widen the limits to hold a scene, or say how it differs from the first one."""
        shape = [(p.name, [type(m).__name__ for m in p.marks]) for p in scene.panels]
        shape += [("read-out", [type(r).__name__]) for r in scene.readouts]
        if self.shape is None:
            self.shape = shape
        if [kinds for _, kinds in shape] != [kinds for _, kinds in self.shape]:
            raise ValueError(
                f"this state shows {_list(shape)}, where the first one showed "
                f"{_list(self.shape)}. Keep panels and marks the same in every state; an array "
                "of length 0 draws nothing."
            )
        for i, panel in enumerate(scene.panels):
            for axis in ("x", "y"):
                self._see_axis(i, panel, axis)
            for j, mark in enumerate(panel.marks):
                colours = mark.colours()
                if colours is not None and len(colours):
                    self._widen((i, j), colours.min(), colours.max())

    def _see_axis(self, i: int, panel: Panel, axis: str):
        given = (getattr(panel, f"{axis}lim"), getattr(panel, f"{axis}scale"))
        if self.given.setdefault((i, axis), given) != given:
            raise ValueError(
                f"{panel.name} has {axis}lim, {axis}scale = {given}, where the first state had "
                f"{self.given[i, axis]}. Give every state the same, so that the axes stay still."
            )
        for mark in panel.marks:
            values = mark.spans()[axis == "y"]
            if len(values):
                self._widen((i, axis), values.min(), values.max())

    def _widen(self, key, low, high):
        old = self.axes.get(key, (low, high))
        self.axes[key] = (min(float(low), old[0]), max(float(high), old[1]))

    def axis(self, i: int, panel: Panel, axis: str) -> tuple[float, float]:
        """Limits of an axis in its own measure: of the logarithm (base 10) on a log axis."""
        log = getattr(panel, f"{axis}scale") == "log"
        measure = np.log10 if log else np.float64
        given = getattr(panel, f"{axis}lim")
        if given is not None:
            return tuple(float(measure(v)) for v in given)
        low, high = (float(measure(v)) for v in self.axes.get((i, axis), (1, 10)))
        if high - low < 1e-12 * max(1.0, abs(low)):
            low, high = low - 0.5, high + 0.5
        pad = PAD * (high - low)
        bars = any(isinstance(m, Bars) for m in panel.marks)
        if bars and axis == "x":
            return low, high
        return low - pad * (not (bars and low == 0)), high + pad * (not (bars and high == 0))

    def colour(self, i: int, j: int, mark) -> tuple[float, float]:
        """Limits of a colour scale; a signed one is centred on zero."""
        low, high = self.axes.get((i, j), (0.0, 1.0))
        if mark.cmap == "signed":
            given = [abs(v) for v in (mark.vmin, mark.vmax) if v is not None]
            top = given[0] if given else max(abs(low), abs(high))
            return -(top or 1.0), top or 1.0
        low = low if mark.vmin is None else float(mark.vmin)
        high = high if mark.vmax is None else float(mark.vmax)
        return (low, high) if low < high else (low, low + 1.0)


def _list(shape) -> str:
    return "; ".join(f"{name} with {', '.join(kinds)}" for name, kinds in shape)


def pack_scene(scene: Scene, limits: Limits, packer: Packer) -> dict:
    """The header of a scene; its arrays go to the packer."""
    readouts = [{"kind": type(r).__name__.lower(), **vars(r)} for r in scene.readouts]
    for readout in readouts:
        if readout["kind"] == "dial":
            readout["text"] = f"{tidy(readout['value'])} {readout['unit']}".strip()
    panels = [_pack_panel(i, p, limits, packer) for i, p in enumerate(scene.panels)]
    return {"panels": panels, "readouts": readouts, "say": scene.say}


def _pack_panel(i: int, panel: Panel, limits: Limits, packer: Packer) -> dict:
    box = {axis: limits.axis(i, panel, axis) for axis in ("x", "y")}
    header = {
        field: getattr(panel, field)
        for field in ("xscale", "yscale", "equal", "axes", "legend")
    }
    header |= {field: str(getattr(panel, field)) for field in ("title", "xlabel", "ylabel")}
    header |= {"layout": panel.layout, "xlim": box["x"], "ylim": box["y"]}
    header |= {k: getattr(panel, k) for k in ("xticks", "yticks") if getattr(panel, k)}

    def at(axis, values):
        log = getattr(panel, f"{axis}scale") == "log"
        values = np.asarray(values, np.float64)
        return packer.coordinates(np.log10(values) if log else values, box[axis])

    header["marks"] = []
    for j, mark in enumerate(panel.marks):
        entry = {"kind": type(mark).__name__.lower()} | _pack_mark(mark, at, packer)
        for field in ("role", "label"):
            if getattr(mark, field, None):
                entry[field] = str(getattr(mark, field))
        if mark.colours() is not None:
            vlim = limits.colour(i, j, mark)
            entry |= {"cmap": mark.cmap, "vlim": vlim}
            entry["value"] = packer.shades(mark.colours(), vlim)
        header["marks"].append(entry)
    return header


def _pack_mark(mark, at, packer: Packer) -> dict:
    """The fields that a kind of mark has for itself."""
    match mark:
        case Points():
            xy = {"x": at("x", mark.x[:, 0]), "y": at("y", mark.x[:, 1])}
            return xy | {"size": None if mark.size is None else float(mark.size)}
        case Segments():
            ends = {"x": at("x", mark.x[:, 0]), "y": at("y", mark.x[:, 1])}
            ends |= {"x2": at("x", mark.y[:, 0]), "y2": at("y", mark.y[:, 1])}
            return ends | {"head": mark.head}
        case Paths():
            xy = {"x": at("x", mark.x[..., 0]), "y": at("y", mark.x[..., 1])}
            return xy | {"k": mark.x.shape[1]}
        case Lines():
            entry = {"x": at("x", mark.x), "y": at("y", mark.y), "marks": mark.marks}
            if mark.band is not None:
                entry |= {"low": at("y", mark.band[0]), "high": at("y", mark.band[1])}
            return entry
        case Rule():
            axis = "y" if mark.x is None else "x"
            return {"axis": axis, "at": at(axis, [getattr(mark, axis)])}
        case Labels():
            xy = {"x": at("x", mark.x[:, 0]), "y": at("y", mark.x[:, 1])}
            return xy | {"texts": mark.texts}
        case Bars():
            entry = {"y": at("y", mark.values), "zero": at("y", [0.0]), "names": mark.names}
            if mark.interval is not None:
                entry |= {"low": at("y", mark.interval[0]), "high": at("y", mark.interval[1])}
            return entry
        case Heatmap():
            entry = {"shape": mark.z.shape}
            if mark.extent is not None:
                entry |= {"x": at("x", mark.extent[:2]), "y": at("y", mark.extent[2:])}
            return entry
        case Images():
            shades = packer.shades(mark.stack, (mark.vmin, mark.vmax))
            entry = {"shape": mark.stack.shape, "columns": mark.columns, "labels": mark.labels}
            return entry | {"cmap": mark.cmap, "value": shades}
    raise TypeError(f"{name_of(mark)} has no packed form.")


def compress(header: dict, block: bytes) -> bytes:
    """Header and arrays as one zlib stream: length of the header, header, arrays."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return zlib.compress(len(text).to_bytes(4, "little") + text + bytes(block), 9)


def expand(data: bytes) -> tuple[dict, bytes]:
    """Undo `compress`."""
    raw = zlib.decompress(data)
    n = int.from_bytes(raw[:4], "little")
    return json.loads(raw[4 : 4 + n]), raw[4 + n :]
