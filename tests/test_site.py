"""The documentation site that `make docs` makes: what its pages are made from, and the check that it passes."""

import re
from pathlib import Path

import command_line
import pytest
import reference
import report
from built_site import broken_links
from test_docstrings import public_objects

import localgrad as lg
from localgrad.reproduction.catalogue import NAMES as NAMES_OF_EXPERIMENTS

ROOT = Path(__file__).parents[1]
NAMES = sorted(name for name, value in public_objects() if not name.startswith("__"))
ENTRY = re.compile(r"^:{3,4}\{py:(?:class|function)\} lg\.([\w.]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def pages():
    return reference.pages()


def test_every_public_name_has_one_entry_with_its_docstring(pages):
    text = "".join(text for page, text in pages.items() if page != "index.md")
    assert sorted(ENTRY.findall(text)) == NAMES
    assert sorted(re.findall(r"\{py:obj\}`lg\.([\w.]+)`", pages["index.md"])) == NAMES
    for item in (lg.learn, lg.Term, lg.tasks.oscillator):
        lines = [line.strip() for line in item.__doc__.splitlines() if "docs/" not in line]  # which become links
        assert [line for line in lines if line not in text] == []


def test_methods_stand_in_the_entry_of_their_class(pages):
    entry = pages["learning.md"].split("{py:class} lg.TrainingRun")[1].split("\n::::\n")[0]
    assert ":::{py:method} at(" in entry
    assert ":::{py:property} silent_loss" in entry


def test_a_public_name_without_a_docstring_is_an_error():
    def bare():
        pass

    with pytest.raises(ValueError, match=r"lg\.bare is public and has no docstring"):
        reference.entry(reference.Name("bare", bare))


def test_arguments_are_shown_without_their_types():
    assert reference.signature(lg.conserved_quantity) == "(network)"
    assert reference.signature(lg.EProp).startswith("(feedback=")
    assert reference.without_self("(self, time)") == "(time)"
    assert reference.without_self("(self)") == "()"


def test_examples_become_code_and_citations_links():
    text = "Source: docs/theory.md, sections 3 and 8; docs/files.md.\n\n>>> 1 + 1\n2\n\nAfter."
    made = reference.as_markdown(text)
    assert "```pycon\n>>> 1 + 1\n2\n```\n\nAfter." in made
    assert "[docs/files.md](../files.md)" in made
    assert "[docs/theory.md](../theory.md), sections [3](../theory.md#3-" in made
    assert " and [8](../theory.md#8-" in made
    assert reference.as_markdown(">>> 1\n1") == "```pycon\n>>> 1\n1\n```"


def test_cells_of_tables_are_not_cut():
    assert (
        reference.cell("min `|λ|` (docs/files.md),\n`a \\| b`")
        == r"min `\|λ\|` ([docs/files.md](../files.md)), `a \| b`"
    )
    assert reference.cell("[x](docs/files.md)") == "[x](docs/files.md)"


def test_rooms_come_in_the_order_in_which_they_build_on_each_other():
    rooms = list(reference.public_names())
    assert rooms[:5] == ["rules", "models", "cells", "tasks", "updates"]
    assert rooms[-1] == "outcomes"


@pytest.mark.slow
def test_the_programs_of_the_page_on_layers_run():
    text = (ROOT / "docs" / "state_space.md").read_text(encoding="utf-8")
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)), {})


@pytest.mark.parametrize(
    ("code", "bare", "target"),
    [
        ("lg.learn", False, "lg.learn"),
        ("lg.Flow()", False, "lg.Flow"),
        ("localgrad.tasks.oscillator", False, "lg.tasks.oscillator"),
        ("learn", True, "lg.learn"),
        ("learn", False, None),
        ("lg.nothing", False, None),
        ("W h + B x", True, None),
    ],
)
def test_names_in_code_become_links(code, bare, target):
    assert reference.public_target(code, bare=bare) == target


def test_the_command_line_is_there_with_all_options():
    page = command_line.page()
    commands = re.findall(r"^## localgrad (\w+)$", page, re.MULTILINE)
    assert commands == ["reproduce", "derive", "analyze", "basin", "train", "sweep", "show", "explore"]
    assert "RULES" not in page
    for option in ("--latex", "--spectral-radius", "--grid", "--learning-rate", "--dry-run", "--facet", "--jobs"):
        assert f"| `{option}" in page, option


def write(folder, **pages):
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>", encoding="utf-8")


def test_a_whole_site_has_nothing_broken(tmp_path):
    write(
        tmp_path,
        a='<a href="b.html#x">b</a><a href="#here">here</a><p id="here"><a href="https://example.org">out</a>',
        b='<p id="x"><img src="data:image/png;base64,AA"><script src="s.js?v=1"></script>',
    )
    (tmp_path / "s.js").write_text("")
    assert broken_links(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('<a href="none.html">x</a>', "does not exist"),
        ('<a href="a.html#none">x</a>', "a place that its page does not have"),
        ('<a href="#none">x</a>', "a place that its page does not have"),
        ('<img src="none.png">', "does not exist"),
        ('<script src="https://example.org/x.js"></script>', "loads https://example.org/x.js from elsewhere"),
        ('<link href="//example.org/x.css">', "loads //example.org/x.css from elsewhere"),
    ],
)
def test_what_is_broken_is_named(tmp_path, body, words):
    write(tmp_path, a=body)
    [sentence] = broken_links(tmp_path)
    assert sentence.startswith("a.html ")
    assert words in sentence


def compared(id, word, result):
    values = {"statement": "w* is | small", "source": "theory", "expected": "≤ 1", "measured": 0.5, word: result}
    return {"id": id, "experiment": id.partition(".")[0]} | values


def test_the_report_has_a_page_an_experiment_and_links_from_verdicts_to_claims():
    verdict = {"statement": "BPTT *rests*", "source": "here", "verdict": "partly", "why": "so", "tests": ["rates.one"]}
    claims = [compared("rates.one", "holds", True), compared("rates.two", "holds", False)]
    made = report.pages({"paper": [verdict], "claims": claims, "checks": [compared("rates.three", "agrees", False)]})
    assert set(made) == {"index.md", *(f"{name}.md" for name in NAMES_OF_EXPERIMENTS)}
    assert r'BPTT \*rests\* *(here)* | **partly** | so <a href="rates.html#rates.one">rates.one</a>' in made["index.md"]
    assert r'<span id="rates.one"></span>w\* is \| small | theory | ≤ 1 | 0.5 | holds |' in made["rates.md"]
    assert [made["rates.md"].count(word) for word in ("**fails**", "**differs**")] == [1, 1]
    assert "figures/rates.png" in made["rates.md"]
    assert "## Claims" not in made["limits.md"]


def test_a_report_that_is_newer_than_the_sources_is_not_computed_again(tmp_path):
    (tmp_path / "claims.json").write_text('{"claims": []}')
    assert report.compute(tmp_path) == {"claims": []}
