"""The report is one self-contained, escaped, accessible HTML file, written whole or not at all."""

import dataclasses
import json
import os
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from demo_experiment import DEMO, FAILING

from localgrad.reproduction.notation import NOTATION
from localgrad.reproduction.paper import STATEMENTS
from localgrad.reproduction.report import (
    PREVIOUS,
    format_number,
    output_folder,
    render_html,
    write_dataset,
    write_report,
)
from localgrad.reproduction.runner import run_experiment
from localgrad.reproduction.section import LARGEST_EMBEDDED_SVG, RenderedFigure
from localgrad.reproduction.verdicts import Statement

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Document(HTMLParser):
    """The elements of a document as (tag, attributes), its text, and a check that elements nest."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def section():
    return run_experiment(FAILING, quick=True)


@pytest.fixture(scope="module")
def document(section):
    return Document(render_html([section]))


def test_report_needs_nothing_from_outside(document):
    assert document.all("script") == document.all("link") == []
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in document.all("img"))
    ids = {attributes["id"] for _, attributes in document.elements if "id" in attributes}
    assert all(link["href"].removeprefix("#") in ids for link in document.all("a"))


def test_report_is_accessible(document):
    assert document.all("html") == [{"lang": "en"}]
    assert [image["alt"] for image in document.all("img")] == [
        "Figure 1, demo-decay: The line is straight: decay is exponential."
    ]
    assert all(header["scope"] in ("col", "row") for header in document.all("th"))


def test_failing_claims_come_first_and_are_counted(document):
    assert "2 of 3 claims hold; those that fail come first in the table at the end." in document.text
    last = document.text[document.text.index("All claims") :]
    assert last.index("demo.fails") < last.index("demo.sum") < last.index("demo.last")
    assert last.count("✗ fails") == 1
    assert last.count("✓ holds") == 2


def test_the_page_begins_with_verdicts_and_ends_with_all_claims(document):
    titles = ("What the paper says", "Notation", "Powers decay", "Checks of the paper", "All claims", "Versions")
    places = [document.text.index(title) for title in titles]
    assert places == sorted(places)
    assert all(statement.sentence in document.text for statement in STATEMENTS)
    assert all(meaning in document.text for _, meaning in NOTATION)


def test_verdicts_link_what_decided(section, monkeypatch):
    told = Statement(
        "powers", "Powers <i>vanish</i>.", "topic", ("demo.sum", "demo.slow"), "In {demo.steps:.0f} steps.",
        findings=("demo.last", "other.absent"),
    )  # fmt: skip
    monkeypatch.setattr("localgrad.reproduction.section.STATEMENTS", (told, Statement("x", "Rest.", "t", (), "Lazy.")))
    page = Document(render_html([section]))
    assert page.all("i") == []
    assert "Of 2 statements: 1 partly, 1 not tested." in page.text
    assert "In 18 steps." in page.text
    assert {"href": "#demo.sum"} in page.all("a")
    assert {"href": "#demo.slow"} in page.all("a")
    assert "demo.sum, demo.slowsee also demo.last" in page.text
    assert page.text.index("Not tested in this run") < page.text.index("Lazy.")


def test_a_check_that_disagrees_is_no_failing_claim(section, document):
    assert [check["agrees"] for check in section.checks] == [False]
    assert "disagrees" in document.text
    assert all("agrees" not in claim for claim in section.claims)


def test_summary_when_all_hold():
    text = Document(render_html([run_experiment(DEMO)])).text
    assert "All 2 claims hold." in text
    assert "Quick setting" not in text


def test_report_escapes_text(document):
    assert document.all("b") == []
    assert "sum to 2 <b>" in document.text


def test_section_says_question_parameters_table_and_command(document):
    for text in ("How fast do powers decay?", "num steps", "18", "BPTT, RFLO", "The sum of all powers.", "2.0000"):
        assert text in document.text
    assert document.text.count("localgrad reproduce demo --quick") == 2  # at the figure, and at the end
    for name in ("localgrad", "Python", "JAX", "NumPy", "SciPy", "Platform"):
        assert name in document.text


def test_written_files(section, tmp_path):
    folder = tmp_path / "new" / "results"
    with output_folder(folder) as unfinished:
        write_report([section], unfinished)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "report.html", "claims.json", "figures/demo-decay.svg", "figures/demo-decay.png", "data/demo.nc"
    }  # fmt: skip
    claims = json.loads((folder / "claims.json").read_text())["claims"]
    assert [claim["holds"] for claim in claims] == [True, True, False]
    assert claims[-1]["measured"] == "nan"
    stored = xr.load_dataset(folder / "data" / "demo.nc")
    assert stored.attrs["experiment"] == "demo"
    np.testing.assert_array_equal(stored.power, section.dataset.power)
    np.testing.assert_array_equal(stored.eigenvalue_imag, [2, -2])


def test_dataset_of_every_kind_survives_storage(tmp_path):
    dataset = xr.Dataset(
        {
            "flag": ("x", [True, False]),
            "count": ("x", np.array([1, 2], dtype=np.int64)),
            "number": ("x", np.array([np.nan, np.inf])),
            "word": ("x", ["âs < 0", "BPTT"]),
            "small": ("x", np.array([1, 2], dtype=np.int8)),
            "scalar": 3.5,
        },
        coords={"x": ["a", "b"]},
        attrs={"quick": 1, "parameters": '{"ŵ": 1}'},
    )
    write_dataset(dataset, tmp_path / "x.nc")
    stored = xr.load_dataset(tmp_path / "x.nc")
    xr.testing.assert_equal(stored, dataset)
    assert stored.attrs["parameters"] == '{"ŵ": 1}'


def test_same_experiment_gives_same_figure(section):
    assert run_experiment(FAILING, quick=True).figures == section.figures


def test_large_figure_is_embedded_as_png():
    large = RenderedFigure("large", "", b" " * (LARGEST_EMBEDDED_SVG + 1), b"png")
    assert large.source.startswith("data:image/png;base64,")


def fail_half_way(folder, error):
    with output_folder(folder) as unfinished:
        (unfinished / "report.html").write_text("half")
        raise error


def test_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fail_half_way(tmp_path / "new" / "results", KeyboardInterrupt())
    assert not (tmp_path / "new").exists()


def test_failure_keeps_what_was_there(tmp_path):
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(ValueError, match="broken"):
        fail_half_way(tmp_path, ValueError("broken"))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_rerun_replaces_the_report_and_keeps_other_files(section, tmp_path):
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    with output_folder(tmp_path) as unfinished:
        write_report([section], unfinished)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_what_stood_in_the_way_is_kept_in_a_folder(section, tmp_path):
    for name in ("report.html", "claims.json", "figures/mine.svg", "data/demo.nc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    with output_folder(tmp_path) as unfinished:
        write_report([section], unfinished)
    older = tmp_path / PREVIOUS
    assert {path.relative_to(older).as_posix() for path in older.rglob("*") if path.is_file()} == {
        "report.html", "claims.json", "data/demo.nc",
    }  # fmt: skip
    assert {path.read_text() for path in older.rglob("*") if path.is_file()} == {"old"}
    assert (tmp_path / "figures" / "mine.svg").read_text() == "old"  # not of a report


def test_failed_move_leaves_no_report_beside_newer_figures(section, tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("old")

    def move(source, target, replace=os.replace):
        if "figures" in str(target):
            raise OSError("broken")
        replace(source, target)

    monkeypatch.setattr(os, "replace", move)
    with pytest.raises(OSError, match="broken"), output_folder(tmp_path) as unfinished:
        write_report([section], unfinished)
    assert not (tmp_path / "report.html").exists()
    assert (tmp_path / PREVIOUS / "report.html").read_text() == "old"


def test_a_file_in_place_of_a_folder_is_found_first(tmp_path):
    (tmp_path / "figures").write_text("")
    with pytest.raises(OSError, match="'figures' in it is a file"), output_folder(tmp_path):
        pytest.fail("must be found before any computation")


def test_one_process_at_a_time_writes_a_report(tmp_path):
    with (
        output_folder(tmp_path),
        pytest.raises(ValueError, match="is being written by another process"),
        output_folder(tmp_path),
    ):
        pytest.fail("a second one must not begin")


def test_what_a_killed_run_left_goes_with_the_next(tmp_path):
    (tmp_path / ".unfinished-abc" / "figures").mkdir(parents=True)
    with output_folder(tmp_path):
        assert not (tmp_path / ".unfinished-abc").exists()


@pytest.mark.parametrize("below", ["", "sub/sub"])
def test_unwritable_folder_is_named(tmp_path, below):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OSError, match=r"cannot write to the output folder '.*file.*'"),
        output_folder(tmp_path / "file" / below),
    ):
        pytest.fail("must be found before any computation")


@pytest.mark.parametrize(("names", "message"), [(("a", "a"), "two figures"), (("../a",), "not a file name")])
def test_bad_figure_names(section, tmp_path, names, message):
    figures = tuple(RenderedFigure(name, "", b"", b"") for name in names)
    with pytest.raises(ValueError, match=message):
        write_report([dataclasses.replace(section, figures=figures)], tmp_path)


@pytest.mark.parametrize(
    ("value", "text"), [(1e-12, "1e-12"), (None, "–"), ([[1, 2], [3, 4]], "(1, 2), (3, 4)"), ("nan", "nan"), (7, "7")]
)
def test_format_number(value, text):
    assert format_number(value) == text
