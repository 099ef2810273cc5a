"""Docs and code agree: sections that are cited exist, and what the report shares with the docs is the same in both."""

import re
from pathlib import Path

from localgrad.reproduction.notation import NOTATION
from localgrad.reproduction.paper import STATEMENTS

ROOT = Path(__file__).parents[1]
GENERATED = {"reference/index.md", "report/index.md"}  # and what they lead to
PAGES = [x for x in sorted((ROOT / "docs").rglob("*.md")) if x.parent.name not in ("reference", "report")]
FILES = [
    *(path for folder in ("src", "docs", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))),
    *PAGES,
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
CITATION = re.compile(r"theory(?:\.md)?`?(?:\]\([^)]*\))?,? sections? (\d+(?:(?:, | and |, and | to |–)\d+)*)")
HEADING = re.compile(r"^## (\d+)\.", re.MULTILINE)


def as_one_line(text):
    """Text whose citations are not torn apart by line ends, comment marks and quotes of adjacent strings."""
    return re.sub(r"\s+", " ", re.sub(r"\"?\s*\n\s*(?:#+ |\")?", " ", text))


def cited_sections(text):
    """The numbers of the theory's sections that a text cites; `5–8` cites all from 5 to 8."""
    numbers = set()
    for found in CITATION.findall(as_one_line(text)):
        for part in re.split(r", and |, | and ", found):
            first, _, last = part.replace(" to ", "–").partition("–")
            numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def table_rows(text, header):
    """The rows of the Markdown table with this header, without marks for code and escapes."""
    lines = text[text.index(header) :].splitlines()[2:]
    rows = [line for line in lines[: lines.index("") if "" in lines else None] if line.startswith("| ")]
    return [tuple(re.sub(r"[`\\]", "", line)[2:-2].split(" | ")) for line in rows]


def test_citations_are_read():
    assert cited_sections("docs/theory.md,\n# section 7;") == {7}
    assert cited_sections("`docs/theory.md`, sections 3 and 8") == {3, 8}
    assert cited_sections('"theory, "\n    "sections 5–7"') == {5, 6, 7}
    assert cited_sections("[theory](docs/theory.md), sections 1, 2 and 12") == {1, 2, 12}
    assert cited_sections("a theory of section 8") == set()


def test_cited_sections_of_the_theory_exist():
    known = {int(number) for number in HEADING.findall((ROOT / "docs" / "theory.md").read_text(encoding="utf-8"))}
    cited = {str(path.relative_to(ROOT)): cited_sections(path.read_text(encoding="utf-8")) for path in FILES}
    cited.pop("tests/test_docs.py")
    assert {path: numbers - known for path, numbers in cited.items() if numbers - known} == {}
    assert set.union(*cited.values()) >= {1, 2, 3, 4, 5, 6, 7, 8, 9}  # the net is not torn


def test_every_page_is_in_the_table_of_contents_of_the_site():
    """A page that is in none stops `make docs`."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    entries = [line for block in re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL) for line in block.split("\n")]
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in PAGES} - {"index"}
    listed = [line for line in entries if line and not line.startswith(":")]
    assert sorted(listed) == sorted(pages | {page.removesuffix(".md") for page in GENERATED})


def test_pages_that_are_linked_exist():
    found = {path: re.findall(r"\]\((?!https?:)([^)#]+\.md)", path.read_text(encoding="utf-8")) for path in PAGES}
    missing = [
        (str(path.relative_to(ROOT)), link)
        for path, links in found.items()
        for link in links
        if link not in GENERATED and not (path.parent / link).exists()
    ]
    assert missing == []


def test_docs_and_report_have_one_notation():
    text = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    assert tuple(table_rows(text, "| symbol | meaning |")) == NOTATION


def test_findings_list_the_statements_of_the_paper():
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    listed = {
        (sentence, source): experiments for sentence, source, experiments in table_rows(text, "| the paper says |")
    }
    assert list(listed) == [(s.sentence, s.source) for s in STATEMENTS]
    for s in STATEMENTS:
        deciding = ", ".join(dict.fromkeys(id.partition(".")[0] for id in s.tests)) or "–"
        assert listed[s.sentence, s.source] == deciding, s.id
