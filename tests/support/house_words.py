"""The field's words, from the table in CONTRIBUTING.md, and who still says otherwise.

UNTOUCHED lists chapters by their stem and modules by their path: files that were not touched since
the table was made. It may only shrink: a test refuses a file that keeps to the words, and any that
is not there.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chapter_rules import parse

ROOT = Path(__file__).resolve().parents[2]

UNTOUCHED: tuple[str, ...] = (
    "activation_transport",
    "entropic_ot",
    "geometries_of_truth",
    "implicit_differentiation",
    "large_sinkhorn_couplings",
    "lineas",
    "normalized_flow_matching",
    "otlab/core/blocks.py",
    "otlab/couplings/entropic_ot/engine/anderson.py",
    "otlab/couplings/entropic_ot/engine/begin.py",
    "otlab/couplings/entropic_ot/engine/iterate.py",
    "otlab/couplings/implicit_differentiation/implicit.py",
    "otlab/couplings/monge_maps.py",
    "otlab/couplings/progot.py",
    "otlab/couplings/semidiscrete/laguerre/ascent.py",
    "otlab/couplings/semidiscrete/laguerre/cells.py",
    "otlab/couplings/semidiscrete/laguerre/problem.py",
    "otlab/couplings/semidiscrete/solver.py",
    "otlab/flows/autoregressive.py",
    "otlab/flows/large_sinkhorn_couplings.py",
    "otlab/flows/measures/metrics.py",
    "otlab/flows/objectives.py",
    "otlab/flows/reflow/pairs.py",
    "otlab/flows/reflow/projection.py",
    "otlab/flows/reflow/recipe.py",
    "otlab/flows/reflow/times.py",
    "otlab/flows/semidiscrete_flow/guidance.py",
    "otlab/flows/semidiscrete_flow/mean_flow.py",
    "otlab/lab/checks/activation_transport.py",
    "otlab/lab/checks/implicit_differentiation.py",
    "otlab/lab/checks/large_sinkhorn_couplings.py",
    "otlab/lab/checks/progot.py",
    "otlab/lab/checks/reflow.py",
    "otlab/lab/checks/semidiscrete_flow.py",
    "otlab/lab/claims/simulation.py",
    "otlab/language/tiny_grammar.py",
    "otlab/learning/checkpointing/train.py",
    "otlab/learning/classifier.py",
    "otlab/learning/fit.py",
    "otlab/learning/loop.py",
    "otlab/learning/nets/convolution.py",
    "otlab/learning/nets/unet.py",
    "otlab/learning/optimiser.py",
    "otlab/steering/flow_styles.py",
    "otlab/steering/geometries_of_truth/planted_truth.py",
    "otlab/steering/geometries_of_truth/probe_mixtures.py",
    "otlab/steering/lineas.py",
    "progot",
    "reflow",
    "semidiscrete_flow",
    "start_here",
)


@dataclass(frozen=True)
class Entry:
    """write: the word to use. wrong: phrases. right_in: phrases and paths that hold it rightly."""

    write: str
    wrong: tuple[str, ...]
    right_in: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Private names that say nothing."""
        return tuple(w.strip("`") for w in self.wrong if w.startswith("`"))

    @property
    def phrases(self) -> tuple[str, ...]:
        return tuple(w for w in self.wrong if not w.startswith("`"))


@cache
def entries() -> tuple[Entry, ...]:
    """The rows of the table "Words"; a cell with a comma inside a phrase splits at semicolons."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("\n## Words\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines() if line.startswith("|")][2:]

    def parts(cell: str) -> tuple[str, ...]:
        return tuple(filter(None, re.split(r"\s*;\s*" if ";" in cell else r"\s*,\s*", cell)))

    return tuple(Entry(write, parts(wrong), parts(right)) for write, wrong, right in rows)


def offences(text: str, path: str = "") -> list[str]:
    """Phrases of the table in a text: "law (write distribution): … of one law are …"."""
    text, out = re.sub(r"\s+", " ", text), []
    for entry in entries():
        if any(path.startswith(right) for right in entry.right_in if "/" in right):
            continue
        blank = re.sub("|".join(rf"\b{re.escape(r)}\b" for r in entry.right_in) or "(?!)",
                       lambda m: "·" * len(m[0]), text, flags=re.I)
        either = "|".join(map(re.escape, sorted(entry.phrases, key=len, reverse=True))) or "(?!)"
        for m in re.finditer(rf"(?<![\w-])(?:{either})(?!\w)", blank, re.I):
            around = text[max(0, m.start() - 30):m.end() + 25]
            out.append(f"{m[0]} (write {entry.write}): …{around}…")
    return out


def prose(markdown: str) -> str:
    """Markdown without code, formulas, addresses and tags."""
    for pattern in (r"```.*?```", r"\$\$.*?\$\$", r"\$[^$]*\$", r"`[^`]*`", r"<[^>]*>"):
        markdown = re.sub(pattern, " · ", markdown, flags=re.S)
    return re.sub(r"\]\([^)]*\)", "]", markdown)


def of_notebook(nb) -> list[str]:
    """Offences of a chapter: prose, and the texts in its code, such as captions and labels."""
    out = []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            out += offences(prose(cell.source))
        elif cell.cell_type == "code":
            texts = [n.value for n in ast.walk(parse(cell))
                     if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            out += [said for text in texts for said in offences(prose(text))]
    return out


def of_module(source: str, path: str = "") -> list[str]:
    """Offences of a module: docstrings, public names and their parameters, private names."""
    tree, out = ast.parse(source), []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds):
            out += offences(prose(ast.get_docstring(node) or ""), path)
    for name in sorted(public_names(tree)):
        out += [f"the name {name}: {said.split(':')[0]}"
                for said in offences(re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name), path)]
    wrong = {name for entry in entries() for name in entry.names}
    return out + [f"the name {name} says nothing" for name in sorted(wrong & private_names(tree))]


def public_names(tree: ast.Module) -> set[str]:
    """Functions, classes and methods without an underscore, and their parameters."""
    out = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            out.add(node.name)
            if isinstance(node, ast.FunctionDef):
                given = node.args
                out |= {a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    return out


def private_names(tree: ast.Module) -> set[str]:
    """Functions, methods and attributes that begin with an underscore."""
    defined = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    set_ = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
            and isinstance(n.ctx, ast.Store)}
    named = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)
             and isinstance(n.ctx, ast.Store)}
    return {name for name in defined | set_ | named if name.startswith("_")}
