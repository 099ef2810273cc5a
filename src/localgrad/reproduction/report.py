"""One self-contained HTML file that says what the paper states, what was measured, and how to see it again.

    sections → report.html, claims.json, figures/*.svg, *.png, data/*.nc

The page begins with a verdict on each statement of the paper; notation, a section an experiment and the table of all
claims follow.

The report needs no network and no script: images are embedded. It is written whole or not at all: everything goes to
a hidden folder first, made before any computation (`output_folder`), and the report itself is moved into place last.
Limit: datasets are stored as NetCDF 3, which has no complex numbers; `x` becomes `x_real` and `x_imag`.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from localgrad.files import name_errors, only_writer
from localgrad.reproduction.notation import NOTATION
from localgrad.reproduction.section import Section, all_checks, all_claims, count_claims, count_verdicts, judge_paper
from localgrad.reproduction.verdicts import NOT_TESTED, VERDICTS

PREVIOUS = "previous-report"
"""Folder inside a report's, for what stood in the way of its files; the run after the next one replaces it."""


def render_html(sections: Sequence[Section]) -> str:
    """The report as one HTML document: verdicts first, failing claims first among the claims, every text escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = format_number
    template = environment.from_string(
        files("localgrad.reproduction").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    paper = judge_paper(sections)
    return template.render(
        sections=sections,
        paper=paper,
        not_tested=NOT_TESTED,
        verdicts=count_verdicts(paper),
        notation=NOTATION,
        looks=dict(zip(VERDICTS, ("good", "half", "bad", "none"), strict=True)),
        claims=sorted(all_claims(sections), key=lambda claim: claim["holds"]),
        summary=count_claims(sections),
        all_hold=all(claim["holds"] for claim in all_claims(sections)),
        quick=any(section.quick for section in sections),
        versions=versions(),
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def format_number(value: Any) -> str:
    """A measurement or parameter for reading: six significant digits, lists with commas, yes and no.

    >>> format_number(0.30000000000000004), format_number([1, 0.5]), format_number(False)
    ('0.3', '1, 0.5', 'no')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(f"({format_number(v)})" if isinstance(v, list | tuple) else format_number(v) for v in value)
    return "–" if value is None else str(value)


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on."""
    found = {"Python": platform.python_version()}
    for name, package in [
        ("localgrad", "localgrad"), ("JAX", "jax"), ("NumPy", "numpy"), ("SciPy", "scipy"), ("Numba", "numba"),
        ("Matplotlib", "matplotlib"), ("xarray", "xarray"),
    ]:  # fmt: skip
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found | {"Platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"}


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder` whose contents are moved up into it when the block ends well.

    Enter it before computing: it finds at once whether the folder can be written. If the block fails or is
    interrupted, nothing is left behind, and an older report stays as it was. If it ends well, files of an older report
    go to the folder `PREVIOUS` in it. Other files in `folder` are never touched.

    **Raises:** `OSError` with a remedy if `folder` cannot be made or written; `ValueError` if another process is
    writing a report there.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as at_end:
        try:
            at_end.callback(_remove_empty, made)
            folder.mkdir(parents=True, exist_ok=True)
            at_end.enter_context(only_writer(folder / "report.html", "report"))
            _check_folders(folder)
            for killed in folder.glob(".unfinished-*"):  # no other run writes here
                shutil.rmtree(killed, ignore_errors=True)
            unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot write to the output folder '{folder}' ({reason}); choose another") from error
        at_end.callback(shutil.rmtree, unfinished, ignore_errors=True)
        yield unfinished
        _move_into(folder, unfinished)


def _check_folders(folder: Path) -> None:
    for name in ("figures", "data", PREVIOUS):
        if (folder / name).exists() and not (folder / name).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{name!r} in it is a file where a folder must be")


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, up to one with contents: the report is there."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _move_into(folder: Path, unfinished: Path) -> None:
    """Move file by file, the report last; an older one leaves first, lest it stand beside newer figures."""
    moved = [path.relative_to(unfinished) for path in unfinished.rglob("*") if path.is_file()]
    for path in sorted({*moved, Path("report.html")}, key=lambda path: (path.name != "report.html", path)):
        if (folder / path).exists():
            _move(folder / path, folder / PREVIOUS / path)
    for path in sorted(moved, key=lambda path: (path.name == "report.html", path)):
        _move(unfinished / path, folder / path)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def write_report(sections: Sequence[Section], folder: Path) -> None:
    """Write report, claims, figures and datasets into `folder`, the one that `output_folder` gave.

    **Raises:** `ValueError` if two figures have the same name, or a name is not usable as a file name.
    """
    figures = [figure for section in sections for figure in section.figures]
    _check_names([figure.name for figure in figures])
    document = {
        "claims": all_claims(sections),
        "checks": all_checks(sections),
        "paper": judge_paper(sections),
        "versions": versions(),
    }
    with name_errors(folder.parent, "the report could not be written", folder):
        for name in ("figures", "data"):
            (folder / name).mkdir(exist_ok=True)
        for figure in figures:
            (folder / "figures" / f"{figure.name}.svg").write_bytes(figure.svg)
            (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
        for section in sections:
            write_dataset(section.dataset, folder / "data" / f"{section.name}.nc")
        (folder / "claims.json").write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        (folder / "report.html").write_text(render_html(sections), encoding="utf-8")


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two figures are called {name!r}; figure names must differ")
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"figure name {name!r} is not a file name; use letters, digits, '-' and '_'")


def write_dataset(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset as NetCDF 3, `x` complex as `x_real` and `x_imag`; read it with `xarray.load_dataset(path)`."""
    for name, variable in list(dataset.variables.items()):
        if variable.dtype.kind == "c":
            parts = {f"{name}_real": variable.real, f"{name}_imag": variable.imag}
            dataset = dataset.drop_vars([name]).assign(parts)
    path.write_bytes(dataset.to_netcdf(engine="scipy"))  # by Python, which says where the disk is full
