"""Reads the cell tagged ``parameters``: names, literal defaults, types, comments, choices."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from typing import Any

from otlab.lab.budget import NAMES as BUDGETS
from otlab.lab.execution.parameters import SIMPLE, Parameter, ParameterError, alternatives, kind_of


def read_parameters(source: str, code: Iterable[str] = (), where: object = "this notebook"
                    ) -> dict[str, Parameter]:
    """The parameters of a cell, in its order.

    Args:
        source: text of the cell tagged ``parameters``.
        code: text of all code cells; the budgets it knows are read from its tables.
        where: what to call the notebook in an error.

    Raises:
        ParameterError: when the cell holds anything but names with literal values.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ParameterError(f"the parameters cell of {where} is not Python (line {error.lineno}); "
                             "it holds one `name = literal` a line.") from error
    comments, found = _comments(source), {}
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        name, annotation = _target(node)
        try:
            default = ast.literal_eval(node.value)
        except (ValueError, TypeError, SyntaxError, AttributeError):
            name = None
        if name is None:
            raise ParameterError(f"line {node.lineno} of the parameters cell of {where} is not "
                                 "`name = literal`; move derived values to the next cell.")
        comment = comments.get(node.end_lineno, "")
        kind = _annotated(annotation) or kind_of(default)
        choices = _choices(default, comment)
        if name == "budget":
            choices = _budgets(code) or choices or BUDGETS
        found[name] = Parameter(name, default, kind, comment, tuple(choices))
    return found


def _target(node):
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, annotation = node.targets[0], None
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        target, annotation = node.target, node.annotation
    else:
        return None, None
    return (target.id if isinstance(target, ast.Name) else None), annotation


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens
            if t.type == tokenize.COMMENT and t.line[:t.start[1]].strip()}


def _annotated(annotation) -> str | None:
    """The annotation as a type we can check; None when we cannot."""
    if annotation is None:
        return None
    text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
    optional = re.fullmatch(r"(?:typing\.)?Optional\[(.+)\]", str(text))
    kinds = alternatives(f"{optional.group(1)} | None" if optional else str(text))
    known = all(re.fullmatch(rf"({'|'.join(SIMPLE)})(\[({'|'.join(SIMPLE)})\])?", k)
                for k in kinds)
    return " | ".join(kinds) if known else None


def _choices(default: Any, comment: str) -> tuple[str, ...]:
    """('dot', 'l2') from ``# dot | l2: the cost``; empty unless the default is among them."""
    if not isinstance(default, str):
        return ()
    words = re.match(r"[\w.-]+(\s*\|\s*[\w.-]+)+", comment)
    listed = tuple(re.split(r"\s*\|\s*", words.group())) if words else ()
    return listed if default in listed else ()


def _budgets(code: Iterable[str]) -> tuple[str, ...]:
    """Budget names that a table in the chapter spells out, as a dictionary or dict(...)."""
    names: set[str] = set()
    for source in code:
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except SyntaxError:
            continue  # magics
        for node in nodes:
            if isinstance(node, ast.Dict):
                keys = [getattr(k, "value", None) for k in node.keys]
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict":
                keys = [k.arg for k in node.keywords]
            else:
                continue
            if keys and set(keys) <= set(BUDGETS):
                names |= set(keys)
    return tuple(n for n in BUDGETS if n in names)
