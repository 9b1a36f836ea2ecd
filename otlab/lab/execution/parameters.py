"""The parameters of a chapter, checked by name and type before a kernel runs.

A parameters cell holds literals, ``epsilon = 0.1  # units of std(C)``. The type is that of the
annotation when there is one (``n: int | None = None``) and of the default otherwise; a comment
such as ``# smoke | page | paper`` lists what a string may be.
"""

import ast
import difflib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from otlab.lab.budget import NAMES as BUDGETS
from otlab.lab.budget import VARIABLE as BUDGET_VARIABLE

SIMPLE = ("int", "float", "bool", "str", "None", "list", "tuple", "dict", "any")
WORDS = {"int": "a whole number", "float": "a finite number", "bool": "true or false",
         "str": "text"}


class LabError(Exception):
    """A mistake in what was asked; its text is one sentence for the reader."""


class ParameterError(LabError, ValueError):
    """A parameter that does not fit its chapter; its text is one sentence for the reader."""


@dataclass(frozen=True)
class Parameter:
    """One name of a parameters cell. type: "float", "int | None", "list[int]", …

    choices: what a string may be; empty when anything goes.
    """

    name: str
    default: Any
    type: str
    comment: str = ""
    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> Any:
        """The value that `text` (from a command line) stands for.

        Raises:
            ParameterError: when it is not of this parameter's type or choices.
        """
        kinds = alternatives(self.type)
        if "None" in kinds and text.strip().lower() == "none":
            return None
        if kinds in (["str"], ["str", "None"]):
            return self.check(_unquote(text))
        try:
            value = _literal(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            if "any" not in kinds and "str" not in kinds:
                raise self._mismatch(text) from None
            value = text
        return self.check(value, shown=text)

    def check(self, value: Any, shown: str | None = None) -> Any:
        """`value` in this parameter's own type: an int becomes a float where a float is wanted.

        Raises:
            ParameterError: when it does not fit.
        """
        if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            value = value.item()  # a numpy or jax scalar
        for kind in alternatives(self.type):
            try:
                fitted = _fit(kind, value)
            except (TypeError, OverflowError):
                continue
            if self.choices and isinstance(fitted, str) and fitted not in self.choices:
                raise ParameterError(f"{self.name} is one of {', '.join(self.choices)}; "
                                     f"got {fitted!r}.")
            return fitted
        raise self._mismatch(repr(value) if shown is None else shown)

    def _mismatch(self, shown: str) -> ParameterError:
        wanted = WORDS.get(self.type, f"a value of type {self.type}")
        return ParameterError(f"{self.name} wants {wanted}, such as {self.name}={self.default!r}; "
                              f"got {shown}.")


def check_parameters(known: Mapping[str, Parameter], given: Mapping[str, Any] | None, *,
                     budget: str | None = None, chapter: str = "this chapter") -> dict[str, Any]:
    """Every parameter of a run, defaults included, each of its own type.

    Args:
        known: from `read_parameters`.
        given: values by name; strings are taken as they are (see `parse_pairs` for text).
        budget: what ``--budget`` said; the same as a parameter called budget.

    Raises:
        ParameterError: for an unknown name (naming the nearest), a wrong type, an unknown budget
            here or in OTLAB_BUDGET.
    """
    given = dict(given or {})
    ceiling = os.environ.get(BUDGET_VARIABLE)
    if ceiling and ceiling not in BUDGETS:
        raise ParameterError(f"{BUDGET_VARIABLE} is one of {', '.join(BUDGETS)}; got {ceiling!r}. "
                             "Unset it, or choose one of these.")
    if budget is not None:
        if given.get("budget", budget) != budget:
            raise ParameterError(f"the budget is given twice: {budget!r} and "
                                 f"{given['budget']!r}; keep one.")
        given["budget"] = budget
    for name in given:
        require_known(known, name, chapter)
    return {name: p.check(given[name]) if name in given else p.default
            for name, p in known.items()}


def require_known(known: Mapping[str, Parameter], name: str, chapter: str) -> Parameter:
    """The parameter of that name; a ParameterError naming the nearest otherwise."""
    if name not in known:
        raise ParameterError(f"{chapter} has no parameter {name!r}; {nearest(name, known)}")
    return known[name]


def nearest(name: str, known: Iterable[str]) -> str:
    """'did you mean …?' when something is close, else what there is."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}."


def parse_pairs(known: Mapping[str, Parameter], pairs: Iterable[str], *,
                chapter: str = "this chapter") -> dict[str, Any]:
    """Values from ``name=text`` pairs, as ``-p`` takes them.

    Raises:
        ParameterError: for a pair without ``=``, a name given twice, or what does not fit.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, text = split_pair(pair, "-p epsilon=0.05")
        if name in values:
            raise ParameterError(f"{name} is given twice; keep one.")
        values[name] = require_known(known, name, chapter).parse(text)
    return values


def split_pair(pair: str, example: str) -> tuple[str, str]:
    """('epsilon', '0.05') from 'epsilon=0.05'."""
    name, equals, text = pair.partition("=")
    if not equals or not name.strip().isidentifier() or not text.strip():
        raise ParameterError(f"a parameter is written name=value, for instance {example}; "
                             f"got {pair!r}.")
    return name.strip(), text.strip()


def split_values(text: str) -> list[str]:
    """The comma-separated values of a grid; commas inside brackets or quotes do not split."""
    parts, depth, quote, start = [], 0, "", 0
    for i, char in enumerate(text):
        if quote:
            if char == quote and text[i - 1] != "\\":
                quote = ""
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in (*parts, text[start:])]


def effective_budget(asked: str | None) -> str | None:
    """The budget a chapter will use: OTLAB_BUDGET lowers what was asked, and never raises it."""
    ceiling = os.environ.get(BUDGET_VARIABLE)
    if asked in BUDGETS and ceiling in BUDGETS:
        return min(asked, ceiling, key=BUDGETS.index)
    return asked


def alternatives(kind: str) -> list[str]:
    """The types that a parameter's kind allows: "int | None" gives ["int", "None"]."""
    return [k.strip() for k in kind.split("|")]


def kind_of(default: Any) -> str:
    """The kind of a parameter as its default shows it; "any" where that says too little."""
    if default is None or type(default).__name__ not in SIMPLE:
        return "any"
    name = type(default).__name__
    if isinstance(default, list | tuple) and default:
        inner = {kind_of(v) for v in default}
        inner = {"float"} if inner == {"int", "float"} else inner
        return f"{name}[{inner.pop()}]" if len(inner) == 1 else name
    return name


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        try:
            return str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            pass
    return text


def _literal(text: str) -> Any:
    words = {"true": True, "false": False, "none": None, "inf": math.inf, "nan": math.nan}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    return ast.literal_eval(text.strip())


def _fit(kind: str, value: Any) -> Any:
    """`value` as `kind`; TypeError when it is not one."""
    kind, _, inner = kind.rstrip("]").partition("[")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "float" and is_number and math.isfinite(value):
        return float(value)
    if kind == "int" and is_number and isinstance(value, int):
        return value
    if kind == "bool" and isinstance(value, bool) or kind == "str" and isinstance(value, str):
        return value
    if kind == "None" and value is None:
        return value
    if kind in ("list", "tuple") and isinstance(value, list | tuple):
        return (list if kind == "list" else tuple)(_fit(inner or "any", v) for v in value)
    if kind == "dict" and isinstance(value, dict):
        return {_fit("str", k): _fit("any", v) for k, v in value.items()}
    if kind == "any":
        return _fit(kind_of(value), value) if kind_of(value) != "any" else _none(value)
    raise TypeError(kind)


def _none(value: Any) -> None:
    if value is not None:
        raise TypeError("any")
    return value
