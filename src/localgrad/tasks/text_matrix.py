r"""A matrix of numbers from text as people have it.

Spreadsheets, MATLAB, R, pandas and tractography write a matrix each in its own way: separated by tabs, semicolons,
commas or spaces, with quotes, decimal commas, trailing separators, a line of labels, a column of labels, or both. All
of that follows from two counts and a look: a connectivity matrix is square, so a file of `R` lines of `K` cells has
labels where `R` and `K` differ, or where its first line or column holds words.

Entries that are missing (empty, `NA`, `NaN`) become NaN; what to do with them is decided elsewhere (`cleaning.py`). A
file is read a line at a time, and stops at the first that cannot be right, so that no file can fill the memory. Every
defect is a `ValueError` that blames the line that is odd.

A text is UTF-8, or UTF-16 or UTF-32 with its mark; what is none of them is read as Latin-1, whose digits are those of
every older encoding.

Limit: a text cut off inside its last number is not noticed.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from localgrad.checks import warn

MAX_BYTES = 2**28
"""256 MiB: a dense `W` of 5,792 units in float64, beyond what exact updates can use."""

MAX_LINE = 2**20
"""Characters in a line of text: 5,792 numbers of 180 characters."""

_SAVE_AGAIN = "write the file again, one row of W a line"
_MISSING = {"", "na", "n/a", "#n/a", "nan", "null", "none", "missing"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_CONTROL = frozenset(map(chr, range(32))) - set("\t\n\v\f\r")
_SAMPLE = 64  # lines from which the way of writing is told

Lines = Iterator[tuple[int, str]]


@dataclass(frozen=True)
class _Dialect:
    """How a text is written: what separates cells (`None` for spaces), and what stands around the numbers."""

    separator: str | None
    trailing: bool  # whether every line ends in a separator
    header: bool = False
    labels: bool = False

    def cells(self, line: str) -> list[str]:
        """The cells of a line, unquoted and stripped."""
        if self.separator is None:
            return [cell.strip('"') for cell in line.split()]
        [cells] = csv.reader([line], delimiter=self.separator, skipinitialspace=True)
        cells = [cell.strip() for cell in cells]
        return cells[:-1] if self.trailing and cells and cells[-1] == "" else cells

    def number(self, cell: str) -> float | None:
        """A cell as a float, NaN where it is missing; `None` where it is a word."""
        if cell.lower() in _MISSING:
            return np.nan
        if self.separator != "," and _DECIMAL_COMMA.fullmatch(cell):
            cell = cell.replace(",", ".")
        return as_number(cell)


def matrix_from_text(data: bytes) -> np.ndarray:
    """The square matrix in a text, in float64; entries that are missing are NaN.

    **Raises:** `ValueError` that names the line and what is wrong with it.

    >>> matrix_from_text(b";A;B\\nA;0;0,5\\nB;0,5;0\\n").tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    text = _decoded(data)
    num_lines = sum(1 for _ in _content(text))
    if num_lines == 0:
        raise ValueError(f"it holds no numbers; {_SAVE_AGAIN}")
    dialect = _recognise(text, num_lines)
    rows: list[np.ndarray] = []
    for at, (line, content) in enumerate(_content(text)):
        if at > 0 or not dialect.header:
            cells = dialect.cells(content)[dialect.labels :]
            rows.append(_row(dialect, cells, line, len(rows[0]) if rows else len(cells), len(rows)))
    width = len(rows[0])
    if len(rows) != width:
        raise ValueError(
            f"it has {len(rows)} lines of {width} numbers, but recurrent weights must be square; {_SAVE_AGAIN}"
        )
    return np.array(rows)


def as_number(cell: str) -> float | None:
    """A cell as a float, `nan` and `inf` included; `None` where it is no number (nor with Python's `1_000`)."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


# --- lines -----------------------------------------------------------------------------------------------------------


def _decoded(data: bytes) -> str:
    marks = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        # Names in the letters of an older Windows or Mac; numbers are the same in all of them.
        text = data.decode("latin-1")
        if not _CONTROL.isdisjoint(text):
            raise ValueError("it is not text; write the file again as plain text") from None
        warn("the text is not UTF-8 and was read as Latin-1: numbers are right, but letters of names may not be")
        return text


def _content(text: str) -> Lines:
    """Lines with content, counted from 1: without comments, blank lines and what is longer than any line of numbers."""
    stream = io.StringIO(text, newline=None)  # a lone carriage return ends a line too, as on old Macs
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), ""), start=1):
        if len(line) == MAX_LINE:  # split, it could take thirty times its size
            raise ValueError(f"line {number} has {MAX_LINE:,} characters or more; {_SAVE_AGAIN}")
        content = line.partition("#")[0].strip(" \r\n\v\f\0")
        if content.strip():
            yield number, content


def _row(dialect: _Dialect, cells: list[str], line: int, width: int, num_rows: int) -> np.ndarray:
    """A row of W; it is checked here, not at the end, so that no file can fill the memory."""
    values = [dialect.number(cell) for cell in cells]
    for column, value in enumerate(values, start=1 + dialect.labels):
        if value is None:
            cell = cells[column - 1 - dialect.labels][:30]
            raise ValueError(f"line {line}, column {column}: {cell!r} is not a real number; correct it")
    if len(values) != width:
        raise ValueError(f"line {line} has {len(values)} numbers where {width} are expected; {_SAVE_AGAIN}")
    if 8 * width**2 > MAX_BYTES:
        raise ValueError(f"line {line} has {width:,} numbers, too many for a dense W; give a smaller network")
    if num_rows == width:
        raise ValueError(
            f"line {line} is row {width + 1} of a W with {width} columns, which must be square; {_SAVE_AGAIN}"
        )
    return np.array(values, dtype=np.float64)


# --- how it is written -----------------------------------------------------------------------------------------------


def _recognise(text: str, num_lines: int) -> _Dialect:
    """The way a text is written: the first separator under which its lines look like rows of numbers."""
    sample = [line for _, line in islice(_content(text), _SAMPLE)]
    candidates = [mark for mark in ("\t", ";", ",") if any(mark in line for line in sample)] + [None]
    found = [_with_labels(_Dialect(mark, _ends_in(mark, sample)), sample, num_lines) for mark in candidates]
    for dialect in found:
        if _share_of_numbers(dialect, sample) == 1:
            return dialect
    return max(found, key=lambda dialect: _share_of_numbers(dialect, sample))  # to say what is odd about it


def _ends_in(mark: str | None, sample: list[str]) -> bool:
    return mark is not None and all(line.endswith(mark) for line in sample)


def _share_of_numbers(dialect: _Dialect, sample: list[str]) -> float:
    """The share of the sample's cells that are numbers, where all lines have one width; below 0 where none is left."""
    rows = [dialect.cells(line)[dialect.labels :] for line in sample[dialect.header :]]
    widths = [len(row) for row in rows]
    if not rows or max(widths) == 0:
        return -1.0
    fine = sum(dialect.number(cell) is not None for row in rows for cell in row)
    return fine / (max(widths) * len(rows))


def _with_labels(dialect: _Dialect, sample: list[str], num_lines: int) -> _Dialect:
    """Whether the first line and the first column are labels: the choice that leaves a square, words counting as such.

    Whole numbers, none twice, may be labels too: where a square needs it, or where the first cell is empty.
    """
    rows = [dialect.cells(line) for line in sample]
    first, column = rows[0], [row[0] for row in rows[1:] if row]
    width = max((len(row) for row in rows[1:]), default=len(first))
    short = len(first) == width - 1  # a header without a cell above the labels
    empty_corner = len(first) == width > 2 and _is_corner(dialect, first[0])
    numbers = _are_numbers_of_regions(first[1:]), _are_numbers_of_regions(column)
    both = short or (empty_corner and all(numbers))
    headers = _choices(dialect, first if short else first[1:], both, _are_numbers_of_regions(first) or numbers[0])
    labels = _choices(dialect, column, both, numbers[1] or _are_numbers_of_regions([first[0], *column]))
    for header in headers:
        for label in labels:
            if num_lines - header == width - label:
                if not header and not label:
                    _refuse_labels_without_corner(first, [first[0], *column])
                return _Dialect(dialect.separator, dialect.trailing, header, label)
    return _Dialect(dialect.separator, dialect.trailing, headers == [True], labels == [True])


def _choices(dialect: _Dialect, cells: list[str], surely: bool, maybe: bool) -> list[bool]:
    """Whether these cells are labels: yes, perhaps (the likelier first), or no."""
    words = [_is_word(dialect, cell) for cell in cells]
    if words and all(words):
        return [True] if len(words) > 1 else [True, False]
    return [True, False] if surely else [False, True] if maybe else [False]


def _is_word(dialect: _Dialect, cell: str) -> bool:
    return dialect.number(cell) is None


def _is_corner(dialect: _Dialect, cell: str) -> bool:
    """Whether the first cell of all is no weight."""
    return cell.lower() in _MISSING or _is_word(dialect, cell)


def _are_numbers_of_regions(cells: list[str]) -> bool:
    """Whether these are whole numbers, none twice, as regions are numbered."""
    return len(cells) > 1 and len(set(cells)) == len(cells) and all(re.fullmatch(r"\d+(?:\.0*)?", x) for x in cells)


def _refuse_labels_without_corner(first: list[str], column: list[str]) -> None:
    """A square of numbers whose first line and column both count the regions: are they weights or labels?"""
    if len(first) < 4 or first[: len(column)] != column[: len(first)] or not _are_numbers_of_regions(first):
        return
    numbers = [float(cell) for cell in first]
    if numbers == list(range(int(numbers[0]), int(numbers[0]) + len(numbers))):
        raise ValueError(
            f"its first line and its first column both count {first[0]}, {first[1]}, {first[2]}, …, as labels do; "
            "remove both, or leave the first cell empty to say that they are labels"
        )


def cells_of_lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line with content, with its number: what the first line is separated by separates all."""
    dialect: _Dialect | None = None
    for line, content in _content(_decoded(data)):
        if dialect is None:
            dialect = _Dialect(next((mark for mark in "\t;," if mark in content), None), trailing=False)
        yield line, dialect.cells(content)


def number_in(cell: str) -> float | None:
    """A cell of a table as a float, NaN where it is missing; `None` where it is a word."""
    return _Dialect(";", trailing=False).number(cell)
