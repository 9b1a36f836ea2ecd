"""The live view of a figure: one request at a time, answered by one state."""

from __future__ import annotations

import functools
import json
import time

SHIM = "\nexport default { render: otlabExplore.render };\n"


@functools.cache
def _widget_class():
    """The widget class. Its JavaScript is read here, once: restart the kernel after editing."""
    import anywidget
    import traitlets

    from otlab.lab.explore.assets import explore_assets

    js, css = explore_assets()

    class ExploreWidget(anywidget.AnyWidget):
        """Asks the figure for a state when the front end does."""

        _esm = js + SHIM
        _css = css
        spec = traitlets.Dict().tag(sync=True)
        first = traitlets.Unicode().tag(sync=True)
        first_bytes = traitlets.Bytes().tag(sync=True)

        def answer(self, figure, content, buffers):
            """Compute the state asked for and send it back; a failure is sent as a sentence."""
            if not isinstance(content, dict) or content.get("type") != "ask":
                return
            reply = {"type": "state", "view": content.get("view"), "id": content.get("id")}
            started, block = time.perf_counter(), b""
            try:
                header, block = figure.live_state(tuple(content["index"]))
                reply["state"] = header
            except Exception as error:  # whatever the author's frame raises must not freeze it
                reply["error"] = str(error)
            reply["ms"] = round(1e3 * (time.perf_counter() - started), 2)
            self.send(reply, buffers=[block])

    return ExploreWidget


def live_widget(figure):
    """An anywidget showing `figure` at its start and asking it for each further state."""
    header, block = figure.live_state(tuple(c.live_start for c in figure.controls.values()))
    widget = _widget_class()(
        spec=figure.spec(live=True), first=json.dumps(header), first_bytes=block
    )
    widget.on_msg(lambda _, content, buffers: widget.answer(figure, content, buffers))
    return widget
