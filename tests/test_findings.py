"""Scripts in findings/ keep their form; what they find is not tested here."""

import os
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "findings"
START = "\nset -euo pipefail\n"


def faults(name: str, text: str, *, executable: bool = True) -> list[str]:
    """What keeps a script from the form that findings/README.md asks for."""
    header, start, body = text.partition(START)
    lines = header.splitlines()
    commands = body.replace("\\\n", " ").splitlines()      # one over several lines is one
    installs = [line for line in commands if "pip\" install" in line]
    wanted = [word for line in installs
              for word in line.split("install", 1)[1].split() if not word.startswith("-")]
    rules = {
        "is executable": executable,
        "begins with #!/usr/bin/env bash": lines[:1] == ["#!/usr/bin/env bash"],
        "has set -euo pipefail after a header of comments":
            bool(start) and all(line.startswith("#") for line in lines),
        "says Claim, Expected, Instead": all(
            re.search(rf"^# {word}: \S", header, re.M)
            for word in ("Claim", "Expected", "Instead")),
        "shows what was Seen on a date": bool(
            re.search(r"^# Seen on \d{4}-\d\d-\d\d:\n#   \S", header, re.M)),
        "works in a folder of mktemp -d, removed on exit":
            "$(mktemp -d)" in body and bool(re.search(r"^trap 'rm -rf .*' EXIT$", body, re.M)),
        "installs packages, all pinned": bool(wanted) and all(
            re.fullmatch(r"[\w.\-\[\]]+==\d[\w.]*", word) for word in wanted),
        "says when the behaviour changed": "changed: " in body,
        "does without our package": "otlab" not in body.lower(),
        "names no address": "://" not in text,
        "keeps to 100 columns, but for the output seen": all(
            len(line) <= 100
            for part in (header.partition("\n# Seen on")[0], body) for line in part.splitlines()),
    }
    return [f"{name}: not so: {rule}" for rule, kept in rules.items() if not kept]


def test_every_script_keeps_the_form():
    scripts = sorted(FOLDER.glob("*.sh"))
    assert len(scripts) >= 6
    found = [fault for path in scripts
             for fault in faults(path.name, path.read_text("utf-8"),
                                 executable=os.access(path, os.X_OK))]
    listed = re.findall(r"^\| \[`(\S+)`\]\(\1\)", (FOLDER / "README.md").read_text("utf-8"), re.M)
    assert found == [] and listed == [path.name for path in scripts]


GOOD = """#!/usr/bin/env bash
# Claim: two and two make five.
# Expected: four.
# Instead: count again.
# Seen on 2026-11-30:
#   5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6
echo "changed: four"
"""


def test_each_rule_can_be_broken():
    assert faults("good.sh", GOOD) == []
    spoiled = {
        "executable": (GOOD, False),
        "bash": (GOOD.replace("env bash", "env sh"), True),
        "euo": (GOOD.replace("set -euo", "set -eo"), True),
        "Instead": (GOOD.replace("# Instead: count again.\n", ""), True),
        "Seen": (GOOD.replace("#   5\n", ""), True),
        "mktemp": (GOOD.replace(' EXIT', ''), True),
        "pinned": (GOOD.replace("numpy==2.4.6", "numpy==2.4.6 \\\n    scipy"), True),
        "changed": (GOOD.replace("changed: ", ""), True),
        "our package": (GOOD + "python3 -c 'import otlab'\n", True),
        "address": (GOOD.replace("count again", "see https://example.org"), True),
        "columns": (GOOD + "#" * 101 + "\n", True),
    }
    passed = [word for word, (text, executable) in spoiled.items()
              if not any(word in fault for fault in faults("bad.sh", text, executable=executable))]
    assert passed == []
