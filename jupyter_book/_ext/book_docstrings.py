"""The package's docstrings, written for readers of code, made safe for reStructuredText."""

import importlib
import inspect
import pkgutil
import re

from docutils.core import publish_doctree
from docutils.utils import Reporter

ROLE = re.compile(r":[\w:+-]+:`([^`]+)`")
FIELD = re.compile(r"[a-z_]\w*(, \w+)*: \S")
LITERAL = re.compile(r"(``.+?``|`[^`\n]+`_?|:\w+:`[^`]+`)")


def modules(package: str) -> list[str]:
    """Public modules of one room, by name."""
    found = importlib.import_module(package)
    return [m.name for m in pkgutil.walk_packages(found.__path__, prefix=f"{package}.")
            if not m.ispkg and not m.name.rpartition(".")[2].startswith("_")]


def unwrap_jitted(app):
    """jax.jit and eqx.filter_jit hide functions in objects; autodoc wants the functions."""
    for room in app.config.otlab_rooms:
        for name in modules(room):
            module = importlib.import_module(name)
            for key, value in list(vars(module).items()):
                wrapped = getattr(value, "__wrapped__", None)
                if wrapped is None or inspect.isfunction(value) or inspect.isclass(value):
                    continue
                if getattr(wrapped, "__module__", None) == name:
                    setattr(module, key, inspect.unwrap(value))


def escape(line: str) -> str:
    """Keep |x|, x_, *y and <P, C> as text; leave literals alone."""
    parts = LITERAL.split(line)
    for i in range(0, len(parts), 2):
        text = parts[i].replace("|", r"\|")
        text = re.sub(r"(?<=\w)_(?=[\s,.;:)\]^]|$)", r"\\_", text)
        parts[i] = re.sub(r"(?<![\w\\])\*(?=\w)|(?<=\w)\*(?!\w)", r"\\*", text)
        if i and re.match(r"\w", parts[i]):  # `Dial`s
            parts[i] = "\\ " + parts[i]
    return "".join(f"``{p[1:-1]}``" if i % 2 and re.fullmatch(r"`[^`]+`", p) else p
                   for i, p in enumerate(parts))


def escape_docstring(app, what, name, obj, options, lines):
    """Before napoleon: single backticks become code, mathematical signs stay signs."""
    if what == "class":
        join_fields(lines)
    inside = False
    for i, line in enumerate(lines):
        if inside and line.strip() and not line.startswith(" " * inside):
            inside = False
        if not inside:
            lines[i] = escape(line)
            if line.rstrip().endswith("::"):
                inside = len(line) - len(line.lstrip()) + 1


def join_fields(lines):
    """Fields of a class, "name: text", whose text goes on in indented lines, on one line each."""
    joined = []
    for line in lines:
        if joined and re.match(r"    \S", line) and FIELD.match(joined[-1]):
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    lines[:] = joined


def fall_back(app, what, name, obj, options, lines):
    """After napoleon: a text that is no valid reStructuredText is shown as it was typed."""
    if not str(getattr(obj, "__module__", None) or name).startswith("otlab"):
        return
    settings = {"report_level": Reporter.SEVERE_LEVEL + 1, "halt_level": 5, "env": app.env,
                "file_insertion_enabled": False, "warning_stream": False}
    # Sphinx's own roles would register references here: read them as text.
    plain = "\n".join(ROLE.sub(r"``\1``", line) for line in lines)
    document = publish_doctree(plain, settings_overrides=settings)
    problems = [m.astext() for m in [*document.parse_messages, *document.transform_messages]
                if m["level"] >= 2]
    if problems:
        text = inspect.getdoc(obj) or "\n".join(lines)
        lines[:] = ["::", "", *("    " + line for line in text.splitlines()), ""]
        print(f"[docstrings] {name} is shown as typed: {problems[0]}")


def setup(app):
    app.add_config_value("otlab_rooms", ["otlab.core", "otlab.couplings", "otlab.flows",
                                         "otlab.lab"], "env", types=(list,))
    app.connect("builder-inited", unwrap_jitted)
    app.connect("autodoc-process-docstring", escape_docstring, priority=400)
    app.connect("autodoc-process-docstring", fall_back, priority=600)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
