"""The files of the front end fit together before a browser has to say so."""

import re
from importlib import resources

from otlab.lab.explore import assets

FOLDER = resources.files("otlab.lab.explore") / "static"
TEXTS = {part: (FOLDER / f"{part}.js").read_text("utf-8") for part in assets.PARTS}
IMPORTED = re.compile(r'^import \{ ([^}]*) \} from "\./(\w+)\.js";$', re.M)
DEFINED = re.compile(r"^(?:export )?(?:async function|function|const|let) (\w+)", re.M)
EXPORTED = re.compile(r"^export (?:async function|function|const|let) (\w+)", re.M)


def faults(texts: dict[str, str]) -> list[str]:
    """What keeps the files from being one script, in the order of `texts`."""
    out, before, owner = [], {}, {}
    for part, text in texts.items():
        if not text.startswith("/* "):
            out.append(f"{part}: no first line that says its idea")
        if len(text.splitlines()) > 200:
            out.append(f"{part}: more than 200 lines")
        for names, source in IMPORTED.findall(text):
            missing = set(names.split(", ")) - before.get(source, set())
            out += [f"{part}: {source} gives no {name}, or comes later" for name in missing]
            body = IMPORTED.sub("", text)
            out += [f"{part}: {name} is not used" for name in names.split(", ")
                    if not re.search(rf"\b{name}\b", body)]
        for name in DEFINED.findall(text):
            if name in owner:
                out.append(f"{part}: {name} stands in {owner[name]} too; they share one scope")
            owner[name] = part
        before[part] = set(EXPORTED.findall(text))
    return out


def test_each_file_is_in_the_script_and_takes_from_files_before_it():
    assert sorted(p.name for p in FOLDER.iterdir() if p.name.endswith(".js")) == sorted(
        f"{part}.js" for part in assets.PARTS)
    assert faults(TEXTS) == []


def test_faults_are_seen():
    swapped = {part: TEXTS[part] for part in ("axes", *(p for p in TEXTS if p != "axes"))}
    assert any("ticksOf" in said for said in faults(swapped))
    assert faults({"a": "/* A. */\nconst x = 1;", "b": "/* B. */\nconst x = 2;"}) == [
        "b: x stands in a too; they share one scope"]


def test_the_script_is_one_text_without_modules():
    js, css = assets.explore_assets()
    assert not re.search(r"^(import|export) ", js, re.M) and js.count("var otlabExplore") == 1
    assert all(f"function {name}" in js for name in ("decode", "drawAxes", "mount", "render"))
    assert ".otlab-explore {" in css
