"""Sliders that always work: live with a kernel, precomputed in the built page.

One call in a cell gives a figure under controls. With a kernel each move computes one new
state; in a built page all states of the sliders' grid lie in the page as data. One front
end, the files of `static/`, draws both. Without JavaScript and on paper a still stands there.

The environment variable OTLAB_EXPLORE chooses the road: unset for live, "static" to compute
the whole grid, "smoke" to try the start and the two extreme corners only.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import html
import inspect
import itertools
import json
import os
from collections import OrderedDict
from typing import Any

from otlab.lab.explore.controls import Control
from otlab.lab.explore.pack import Limits, Packer, compress, pack_scene
from otlab.lab.scene.panels import Scene

__all__ = ["Explore", "explore"]

SCHEMA = "otlab.explore/1"
MEMORY = 256  # states that a live figure remembers
MODES = ("live", "static", "smoke")


def explore(
    frame, *, title: str = "", alt: str, caption: str, max_bytes: int = 1_200_000, **controls
) -> Explore:
    """A figure under controls.

    Args:
        frame: a function of the controls, by keyword, that returns a `scene`. Given equal
            values it must return equal scenes: seed whatever it samples.
        title: a heading of a few words.
        alt: one sentence saying what the figure shows, for who does not see it.
        caption: the finding first, then how to read it.
        max_bytes: the most that a built page may spend on this figure's data and still.
        controls: `slider`, `log_slider` or `choice`, each under the name that frame takes.

    Returns:
        An object that a notebook displays, and whose `html()` stands in a page.

    Raises:
        ValueError: for controls that do not fit the frame, or a figure past max_bytes.
        RuntimeError: when the frame fails, naming the state.
    """
    return Explore(frame, title, alt, caption, max_bytes, controls)


class Explore:
    """A figure under controls; made by `explore`.

    states: how many states the page holds. payload: its compressed data, b"" when live.
    """

    def __init__(self, frame, title, alt, caption, max_bytes, controls: dict[str, Control]):
        self.frame, self.title, self.caption = frame, str(title), str(caption)
        self.alt, self.max_bytes, self.controls = str(alt), max_bytes, controls
        self.mode = os.environ.get("OTLAB_EXPLORE") or "live"
        self._check()
        self.limits = Limits()
        self.memory: OrderedDict[tuple, Scene] = OrderedDict()
        self.start = tuple(c.start for c in controls.values())
        self.payload, self.states = b"", 0
        self._widget = None
        first = self._scene(self._static_values(self.start))
        self.still = None
        if self.mode == "smoke":
            self._try_corners()
        if self.mode == "static":
            self._compute_grid()
        self._draw_still(first)
        self._check_size()

    def _check(self):
        if self.mode not in MODES:
            raise ValueError(f"OTLAB_EXPLORE={self.mode!r} is none of {', '.join(MODES)}.")
        for name in ("title", "alt", "caption"):
            if getattr(self, name).startswith("Control("):
                raise ValueError(f"explore: {name} is its own words; call this control otherwise.")
            if name != "title" and not getattr(self, name).strip():
                raise ValueError(f"explore: {name} is empty; say in a sentence what is shown.")
        if not callable(self.frame):
            raise ValueError(f"explore: frame must be a function; got {self.frame!r}.")
        if not self.controls:
            raise ValueError("explore needs at least one control, e.g. n=slider(1, 9, 3, 1).")
        for name, control in self.controls.items():
            if not isinstance(control, Control):
                raise ValueError(
                    f"explore: {name}={control!r} is no control; use slider(...), "
                    "log_slider(...) or choice(...)."
                )
        self._check_signature()

    def _check_signature(self):
        parameters = inspect.signature(self.frame).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return
        taken = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        for name in self.controls:
            if name not in taken:
                near = difflib.get_close_matches(name, taken, 1, 0.0)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"explore: the frame takes no argument {name!r}.{hint}")
        for p in parameters:
            if p.default is p.empty and p.name in taken and p.name not in self.controls:
                raise ValueError(
                    f"explore: the frame needs {p.name!r}, and no control has that name. "
                    f"Add {p.name}=slider(...), or give it a default."
                )

    # States -----------------------------------------------------------------------------

    def _static_values(self, index) -> tuple:
        return tuple(c.values[i] for c, i in zip(self.controls.values(), index, strict=True))

    def _live_values(self, index) -> tuple:
        return tuple(c.live_values[i] for c, i in zip(self.controls.values(), index, strict=True))

    def describe(self, values) -> str:
        """A state in words: "batch size n = 256 points, ε = 0.1"."""
        pairs = zip(self.controls.items(), values, strict=True)
        return ", ".join(f"{c.label or name} = {c.text(v)}" for (name, c), v in pairs)

    def _scene(self, values: tuple) -> Scene:
        """The scene at these values, remembered; failures name the state."""
        key = tuple(map(repr, values))
        if key in self.memory:
            self.memory.move_to_end(key)
            return self.memory[key]
        try:
            result = self.frame(**dict(zip(self.controls, values, strict=True)))
            if not isinstance(result, Scene):
                raise TypeError(
                    f"the frame returned {type(result).__name__}; end it with "
                    "`return scene(panel(...), ...)`."
                )
            self.limits.see(result)
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise RuntimeError(f"At {self.describe(values)}: {kind}{error}") from error
        self.memory[key] = result
        if len(self.memory) > MEMORY and self.mode == "live":
            self.memory.popitem(last=False)
        return result

    def live_state(self, index) -> tuple[dict, bytes]:
        """Header and bytes of the scene at an index into the live positions."""
        scene = self._scene(self._live_values(index))
        packer = Packer()
        return pack_scene(scene, self.limits, packer), bytes(packer.block)

    def _grid(self):
        return itertools.product(*(range(len(c.values)) for c in self.controls.values()))

    def _try_corners(self):
        low = tuple(0 for _ in self.controls)
        high = tuple(len(c.values) - 1 for c in self.controls.values())
        for index in (low, high):
            pack_scene(self._scene(self._static_values(index)), self.limits, Packer())

    def _compute_grid(self):
        indices = list(self._grid())
        scenes = [self._scene(self._static_values(index)) for index in indices]
        self.payload = self._pack(scenes)
        self.states = len(indices)

    def _pack(self, scenes) -> bytes:
        packer = Packer()
        states = [pack_scene(scene, self.limits, packer) for scene in scenes]
        return compress({"states": states}, packer.block)

    def _check_size(self):
        size = len(self.html().encode())
        if self.mode != "static" or size <= self.max_bytes:
            return
        costs = {name: self._size_without_half(name) for name in self.controls}
        name = min(costs, key=costs.get)
        count = len(self.controls[name].values)
        raise ValueError(
            f"explore {self.title!r}: {self.states} states need {size:,} bytes in the page, and "
            f"max_bytes is {self.max_bytes:,}. Coarsen {name}: {(count + 1) // 2} positions in "
            f"place of {count} would need about {costs[name]:,} (live_steps keeps it fine with "
            "a kernel). Or draw fewer points."
        )

    def _size_without_half(self, name: str) -> int:
        """Bytes in the page if this control had every other position only."""
        axis = list(self.controls).index(name)
        kept = [index for index in self._grid() if index[axis] % 2 == 0]
        packed = self._pack([self._scene(self._static_values(index)) for index in kept])
        return len(self.html().encode()) - 4 * (len(self.payload) - len(packed)) // 3

    # Output -----------------------------------------------------------------------------

    def _draw_still(self, scene: Scene):
        from otlab.lab.scene.still import draw_still

        self.still = draw_still(scene, self.limits)

    def spec(self, live: bool) -> dict:
        """What the front end needs besides the states."""
        controls = [c.wire(name, live) for name, c in self.controls.items()]
        spec = {"schema": SCHEMA, "title": self.title, "alt": self.alt, "caption": self.caption}
        return spec | {"controls": controls}

    def html(self) -> str:
        """A <figure> with the still and, when computed, all states; its id is made from them."""
        parts = [
            '<img class="otlab-still" src="data:image/png;base64,'
            f'{base64.b64encode(self.still.png).decode()}" alt="{html.escape(self.alt)}" '
            f'width="{self.still.width}" height="{self.still.height}" '
            'style="max-width:100%;height:auto">',
            f"<figcaption>{html.escape(self.caption)} <small class=\"otlab-at\">Shown: "
            f"{html.escape(self.describe(self._static_values(self.start)))}.</small></figcaption>",
        ]
        if self.title:
            parts.insert(0, f'<p class="otlab-title"><strong>{html.escape(self.title)}'
                            "</strong></p>")
        if self.payload:
            data = self.spec(live=False) | {"data": base64.b64encode(self.payload).decode()}
            text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
            parts.append(f'<script type="application/json" class="otlab-data">{text}</script>')
        body = "\n".join(parts)
        name = hashlib.sha256(body.encode()).hexdigest()[:12]
        return f'<figure class="otlab-explore" id="explore-{name}">\n{body}\n</figure>'

    def widget(self):
        """The live view, an anywidget; one for each figure."""
        if self._widget is None:
            from otlab.lab.explore.live import live_widget

            self._widget = live_widget(self)
        return self._widget

    def _repr_mimebundle_(self, include=None, exclude=None) -> Any:
        bundle = {"text/plain": f"{self.title}: {self.alt}" if self.title else self.alt}
        bundle["text/html"] = self.html()
        if self.mode != "live" or not _has_kernel():
            return bundle
        view = self.widget()._repr_mimebundle_()
        data, metadata = view if isinstance(view, tuple) else (view, {})
        return {**data, **bundle}, metadata


def _has_kernel() -> bool:
    """Whether a notebook's kernel runs this process."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
