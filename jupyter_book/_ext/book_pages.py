"""What each page loads, and which buttons it has."""

from pathlib import Path


def add_assets(app, pagename, templatename, context, doctree):
    """Look at the finished body: nothing is loaded that the page does not need."""
    body = context.get("body") or ""
    if "otlab-explore" in body:
        app.add_css_file("explore.css")
        app.add_js_file("explore.js", loading_method="defer")
    if "otlab-plotly" in body:
        app.add_js_file("plotly_figures.js", loading_method="defer")


def drop_edit_links(app, pagename, templatename, context, doctree):
    """Pages that are not notebooks have no notebook to launch or download."""
    if not (Path(app.srcdir) / f"{pagename}.ipynb").exists():
        dropped = ("launch-buttons", "download-buttons")
        context["header_buttons"] = [button for button in context.get("header_buttons", [])
                                     if button.get("label") not in dropped]


def setup(app):
    app.connect("html-page-context", add_assets)
    app.connect("html-page-context", drop_edit_links, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
