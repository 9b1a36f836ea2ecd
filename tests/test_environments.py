"""The environment files, the locked versions and pyproject.toml say the same thing."""

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool():
    """tools/environment.py as a module."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / "tools" / "environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def locked() -> dict[str, Version]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line.strip())
    return {normal(name): Version(version) for name, version in pins.items()}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("file", ["environment.yml", "binder/environment.yml"])
def test_environment_files_are_what_the_script_writes(tool, file):
    assert (ROOT / file).read_text() == tool.render(file), "run: python tools/environment.py"


@pytest.mark.parametrize("file", ["environment.yml", "binder/environment.yml"])
def test_environment_files_name_every_direct_dependency(tool, file):
    content = yaml.safe_load((ROOT / file).read_text())
    entries = [e for e in content["dependencies"] if isinstance(e, str)]
    entries += [e for d in content["dependencies"] if isinstance(d, dict) for e in d["pip"]]
    names = {re.match(r"[A-Za-z0-9._-]+", entry)[0] for entry in entries}
    wanted = {tool.CONDA_NAME.get(name, name)
              for name, _ in map(tool.split, tool.requirements(tool.FILES[file]))}
    assert wanted <= names
    assert names - wanted == {"python", "pip"}


def test_a_changed_dependency_is_noticed(tool, monkeypatch):
    before = tool.render("environment.yml")
    real = tool.requirements
    monkeypatch.setattr(tool, "requirements", lambda extras: [*real(extras), "newcomer>=1"])
    assert tool.render("environment.yml") != before


def test_unreadable_requirements_are_named(tool):
    with pytest.raises(ValueError, match="name>=version"):
        tool.split("jax @ file:///somewhere")


def test_every_direct_dependency_is_locked_within_its_range():
    pins, missing, outside = locked(), [], []
    extras = project()["optional-dependencies"]
    direct = project()["dependencies"] + [r for name, group in extras.items() if name != "cuda"
                                          for r in group]
    for text in direct:
        requirement = Requirement(text)
        pin = pins.get(normal(requirement.name))
        if pin is None:
            missing.append(text)
        elif not requirement.specifier.contains(pin):
            outside.append(f"{text}, locked {pin}")
    assert not missing and not outside, f"run `make lock`: missing {missing}, outside {outside}"


def test_the_lock_carries_no_build_of_one_machine():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"\+(cpu|cu\d+)|file:|https?:|--find-links|^nvidia-|@", text, re.M)


def test_one_version_everywhere():
    module = ast.parse((ROOT / "otlab" / "__init__.py").read_text())
    declared = next(node.value.value for node in module.body if isinstance(node, ast.Assign)
                    and node.targets[0].id == "__version__")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project()["version"] == declared == cited["version"]
    assert cited["license"] == project()["license"]
    assert f"version = {{{declared}}}" in (ROOT / "jupyter_book" / "cite.md").read_text()
    assert f"## {declared}" in (ROOT / "CHANGELOG.md").read_text()


def test_lowest_python_is_the_tested_one():
    assert project()["requires-python"] == ">=3.11"
    for file in ("environment.yml", "binder/environment.yml"):
        assert "  - python=3.11\n" in (ROOT / file).read_text()
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    assert '"3.11"' in workflow
    assert "--python-version 3.11" in (ROOT / "tools" / "lock.sh").read_text()
