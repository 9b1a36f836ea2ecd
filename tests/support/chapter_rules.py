"""What every notebook must hold to; each rule returns the sentences that say what is wrong."""

import ast
import re

MAX_LINES = 30
DRAWS = {"subplots", "figure", "subplot_mosaic"}
SHOWS = {"show", "explore"}
FORBIDDEN = {
    "an install command": re.compile(r"(^|\s)[!%]\s*(pip|conda|uv|mamba)\b|subprocess.*\bpip\b",
                                     re.M),
    "a shell command": re.compile(r"^\s*!|os\.system\(|get_ipython\(", re.M),
    "a download": re.compile(r"urlopen|urlretrieve|requests\.|fetch_openml|download\s*=\s*True"
                             r"|hf_hub|https?://"),
    "chdir": re.compile(r"chdir\("),
    "an absolute path": re.compile(r"[\"'](?:/(?:home|root|Users|work|mnt|tmp|opt)\b|[A-Z]:\\)"),
    "a global seed": re.compile(r"np\.random\.seed|numpy\.random\.seed|torch\.manual_seed"
                                r"|(?<![\w.])random\.seed"),
    "silenced warnings": re.compile(r"warnings\.(filterwarnings|simplefilter)\(\s*[\"']ignore"),
}
CHECKED = "NBVAL_CHECK_OUTPUT"


def tags(cell) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def code(nb):
    """Code cells that hold something, with their numbers from 1."""
    cells = [c for c in nb.cells if c.cell_type == "code" and c.source.strip()]
    return list(enumerate(cells, 1))


def parse(cell) -> ast.Module:
    """The cell's Python; magics and shell commands are read as comments."""
    return ast.parse(re.sub(r"^(\s*)([%!])", r"\1# \2", cell.source, flags=re.M))


def names_of(call: ast.Call) -> str:
    target = call.func
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def calls(cell) -> list[ast.Call]:
    return [n for n in ast.walk(parse(cell)) if isinstance(n, ast.Call)]


def has_title(nb) -> list[str]:
    text = nb.cells[0].source if nb.cells and nb.cells[0].cell_type == "markdown" else ""
    return [] if re.match(r"#\s+\S", text) else ["the first cell does not begin with a # title"]


def has_card(nb) -> list[str]:
    text = nb.cells[0].source if nb.cells else ""
    if not re.search(r"<div class=\"[^\"]*\bcard\b", text):
        return ["the first cell has no card: a div of class card"]
    wanted = {"needs": r"\*\*needs", "time": r"\*\*time", "device": r"\*\*device",
              "papers": r"\*\*papers?"}
    return [f"the card does not name its {word}" for word, pattern in wanted.items()
            if not re.search(pattern, text, re.I)]


def metadata_is_complete(nb) -> list[str]:
    about = nb.metadata.get("otlab", {})
    out = []
    if not (isinstance(about.get("summary"), str) and 10 <= len(about["summary"]) <= 160
            and "\n" not in about["summary"]):
        out.append("metadata.otlab.summary is not one line of 10 to 160 letters")
    if not (isinstance(about.get("minutes"), int) and about["minutes"] > 0):
        out.append("metadata.otlab.minutes is not a whole number above zero")
    return out


def parameters_are_literals(nb) -> list[str]:
    cells = [c for _, c in code(nb) if "parameters" in tags(c)]
    if len(cells) != 1:
        return [f"{len(cells)} cells are tagged parameters; there must be one"]
    out, names = [], []
    for node in parse(cells[0]).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(target, ast.Name):
            out.append(f"parameters, line {node.lineno}: not an assignment of a literal")
            continue
        names.append(target.id)
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            out.append(f"parameter {target.id} is not a literal")
            continue
        if target.id == "budget" and value != "page":
            out.append('the default of budget must be "page"')
        line = cells[0].source.splitlines()[node.lineno - 1]
        if "#" not in line and target.id != "seed":
            out.append(f"parameter {target.id} has no comment that says what it is")
    if "budget" not in names:
        out.append("there is no parameter budget")
    return out


def parameters_are_read(nb) -> list[str]:
    seen, names, read = False, set(), set()
    for _, cell in code(nb):
        tree = parse(cell)
        if "parameters" in tags(cell):
            seen = True
            names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)
                     and isinstance(n.ctx, ast.Store)}
        elif seen:
            read |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)
                     and isinstance(n.ctx, ast.Load)}
    return [f"parameter {name} is never read" for name in sorted(names - read)]


def figures_are_described(nb) -> list[str]:
    out = []
    for number, cell in code(nb):
        found = calls(cell)
        shows = [c for c in found if names_of(c) in SHOWS]
        for call in shows:
            given = {k.arg: k.value for k in call.keywords}
            for word in ("alt", "caption"):
                value = given.get(word)
                if value is None:
                    out.append(f"code cell {number}: {names_of(call)} has no {word}")
                elif isinstance(value, ast.Constant) and len(str(value.value).split()) < 4:
                    out.append(f"code cell {number}: {word} is not a sentence")
        image = cell.get("metadata", {}).get("mystnb", {}).get("image", {})
        if any(names_of(c) in DRAWS for c in found) and not shows and not image.get("alt"):
            helper = any(isinstance(n, ast.FunctionDef) for n in ast.walk(parse(cell)))
            if not helper:
                out.append(f"code cell {number}: a figure without show(fig, alt=, caption=)")
    return out


def claims_come_last(nb) -> list[str]:
    with_table = [n for n, cell in code(nb) if any(names_of(c) == "claims_table"
                                                   for c in calls(cell))]
    if not with_table:
        return ["there is no claims_table"]
    if with_table[-1] != len(code(nb)):
        return ["claims_table is not in the last code cell"]
    return []


def verdicts_are_judged(nb) -> list[str]:
    out = []
    for number, cell in code(nb):
        for call in calls(cell):
            if names_of(call) != "Claim":
                continue
            given = [k.value for k in call.keywords if k.arg == "verdict"] + list(call.args[4:5])
            if any(isinstance(v, ast.Constant) and v.value != "not tested" for v in given):
                out.append(f"code cell {number}: a verdict typed by hand")
    return out


def nothing_forbidden(nb) -> list[str]:
    return [f"code cell {number}: {what}" for number, cell in code(nb)
            for what, pattern in FORBIDDEN.items()
            if pattern.search(cell.source) and not _only_in_comment(pattern, cell.source)]


def _only_in_comment(pattern, source) -> bool:
    bare = "\n".join(line.split("#")[0] for line in source.splitlines())
    return not pattern.search(bare)


def no_bare_except(nb) -> list[str]:
    return [f"code cell {number}: a bare except" for number, cell in code(nb)
            for n in ast.walk(parse(cell)) if isinstance(n, ast.ExceptHandler) and n.type is None]


def length(cell) -> int:
    """Lines of a cell; those of its imports do not count."""
    lines = cell.source.splitlines()
    imports = [n for n in parse(cell).body if isinstance(n, ast.Import | ast.ImportFrom)]
    return len(lines) - sum(n.end_lineno - n.lineno + 1 for n in imports)


def cells_are_short(nb) -> list[str]:
    return [f"code cell {number} has {length(cell)} lines; the most is {MAX_LINES}"
            for number, cell in code(nb) if length(cell) > MAX_LINES]


def checked_cells_can_fail(nb) -> list[str]:
    """nbval compares nothing in a cell without a count, and passes when there is no output."""
    out = []
    for number, cell in code(nb):
        if CHECKED not in cell.source and "nbval-check-output" not in tags(cell):
            continue
        if not cell.get("execution_count"):
            out.append(f"code cell {number} is checked but has no execution count")
        if not cell.get("outputs"):
            out.append(f"code cell {number} is checked but has no output")
        if "keep_output" not in tags(cell):
            out.append(f"code cell {number} is checked but not tagged keep_output")
    return out


def outputs_are_stripped(nb) -> list[str]:
    return [f"code cell {number} keeps its output; run nbstripout --keep-count"
            for number, cell in code(nb) if cell.get("outputs") and "keep_output" not in tags(cell)]


def reads_in_jupyterlab(nb) -> list[str]:
    """JupyterLab knows Markdown and HTML: MyST's fences, roles and empty links it shows raw."""
    kinds = {"a MyST fence": r"^\s*(```|:::)\{", "a MyST role": r"\{[\w:]+\}`",
             "a link without a text": r"(?<!!)\[\]\("}
    return [f"cell {number}: {what}" for number, cell in enumerate(nb.cells, 1)
            if cell.cell_type == "markdown" for what, pattern in kinds.items()
            if re.search(pattern, cell.source, re.M)]


def folded_cells_are_folded_everywhere(nb) -> list[str]:
    """In the book by the tags hide-cell and hide-input, in JupyterLab by its own metadata."""
    return [f"code cell {number} hides in the book but not in JupyterLab: set "
            "metadata.jupyter.source_hidden" for number, cell in code(nb)
            if {"hide-cell", "hide-input"} & set(tags(cell))
            and not cell.metadata.get("jupyter", {}).get("source_hidden")]


def no_widget_state(nb) -> list[str]:
    return ["metadata.widgets is there"] if "widgets" in nb.metadata else []


def headings_in_order(nb) -> list[str]:
    levels = []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"^(```+|:::+).*?^\1\s*$", "", cell.source, flags=re.M | re.S)
            levels += [len(m) for m in re.findall(r"^(#{1,6})\s", text, re.M)]
    out = [f"heading level jumps from {a} to {b}" for a, b in zip(levels, levels[1:], strict=False)
           if b > a + 1]
    return out + (["more than one # title"] if levels.count(1) > 1 else [])


EVERY_NOTEBOOK = [has_title, metadata_is_complete, figures_are_described, nothing_forbidden,
                  no_bare_except, cells_are_short, checked_cells_can_fail, outputs_are_stripped,
                  no_widget_state, headings_in_order, reads_in_jupyterlab,
                  folded_cells_are_folded_everywhere]
EVERY_CHAPTER = [has_card, parameters_are_literals, parameters_are_read, claims_come_last,
                 verdicts_are_judged]
