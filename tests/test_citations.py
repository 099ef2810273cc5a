"""What docs and docstrings cite exists: modules by their file names, and public names as `lg.name`."""

import re
from pathlib import Path

import pytest

import localgrad as lg

ROOT = Path(__file__).parents[1]
PAGES = [
    path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name != "reference"
]  # which is generated
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
CODE = [path for folder in ("src", "tests", "benchmarks", "docs") for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = [path.relative_to(ROOT).as_posix() for path in CODE]
MODULE = re.compile(r"(?<![\w/.*\"'])[\w/]*\w\.py\b")  # not in quotes, where programs name files of their own
NAME = re.compile(r"\b(?:lg|localgrad)\.([A-Za-z_]\w*)")
ROOMS = {path.name for path in (ROOT / "src" / "localgrad").iterdir() if path.is_dir()}
# Names after a dot that are no attributes: the group of entry points, modules.
NO_ATTRIBUTES = ROOMS | {"checks", "files", "outcomes"}


def modules_cited_in(text):
    """The file names of Python modules in a text, without its blocks of code."""
    found = MODULE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return {name for name in found if not name.endswith("__init__.py")}  # of which every folder has one


def places_of(name, citing):
    """Where a module cited in a file can be: next to it, else anywhere under this name."""
    beside = (citing.parent / name).resolve()
    if beside.exists():
        return [beside.relative_to(ROOT).as_posix()]
    return [path for path in MODULES if f"/{path}".endswith(f"/{name}")]


def test_modules_are_found():
    assert modules_cited_in('`rules/rule.py`, (stein.py) and "mine.py"\n```\nother.py\n```') == {
        "rules/rule.py",
        "stein.py",
    }
    assert len(places_of("stepping.py", ROOT / "README.md")) == 2  # so it must be cited with its folder
    assert len(places_of("modes/stepping.py", ROOT / "README.md")) == 1


@pytest.mark.parametrize("path", [*PROSE, *CODE], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_cited_modules_exist(path):
    text = path.read_text(encoding="utf-8")
    found = {name: places_of(name, path) for name in modules_cited_in(text) if path != Path(__file__)}
    assert {name: places for name, places in found.items() if len(places) != 1} == {}, (
        "each must be one module; where there are several of this name, write its folder"
    )


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_cited_names_are_public(path):
    cited = set(NAME.findall(path.read_text(encoding="utf-8"))) - NO_ATTRIBUTES
    assert {name for name in cited if not hasattr(lg, name)} == set()
