"""Matrices as spreadsheets, R, MATLAB, pandas and tractography write them: what goes out comes back."""

import warnings
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgrad.tasks.cleaning import fill_missing, symmetrized, triangle_of
from localgrad.tasks.teachers import load_teacher
from localgrad.tasks.text_matrix import matrix_from_text

RNG = np.random.default_rng(3)


def written(W, *, separator=",", comma=False, quotes=False, trailing=False, header=None, labels=None, corner=""):
    """A matrix as text; `header` and `labels` are the words above and beside it."""

    def cell(value):
        text = value if isinstance(value, str) else repr(float(value)).replace(".", "," if comma else ".")
        return f'"{text}"' if quotes else text

    rows = [[cell(x) for x in row] for row in W]
    if labels is not None:
        rows = [[cell(label), *row] for label, row in zip(labels, rows, strict=True)]
    if header is not None:
        above = [cell(label) for label in header]
        rows = [[cell(corner), *above] if labels is not None and corner is not None else above, *rows]
    return "\n".join(separator.join(row) + separator * trailing for row in rows) + "\n"


numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))
sizes = st.integers(3, 6)


@st.composite
def texts(draw):
    n = draw(sizes)
    # An odd number in each row and column, so that none of them counts regions.
    W = np.array(draw(st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=n, max_size=n))) + 0.0
    W[0, 1:] = W[1:, 0] = -0.125
    names = [f"Vé{i}" for i in range(n)] if draw(st.booleans()) else [str(100 + 3 * i) for i in range(n)]
    separator = draw(st.sampled_from([",", ";", "\t"]))
    comma = draw(st.booleans()) if separator != "," else False
    header, labels = (names if draw(st.booleans()) else None for _ in range(2))
    corner = draw(st.sampled_from(["", "Row"])) if names[0].startswith("V") else ""
    text = written(
        W, separator=separator, comma=comma, quotes=draw(st.booleans()), trailing=draw(st.booleans()),
        header=header, labels=labels, corner=corner,
    )  # fmt: skip
    if draw(st.booleans()):
        text = "# made by a program\n" + text
    text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n", "\r"])))
    return W, draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])), text


@pytest.mark.filterwarnings("ignore:the text is not UTF-8")
@given(texts())
def test_what_goes_out_comes_back(case):
    W, encoding, text = case
    np.testing.assert_array_equal(matrix_from_text(text.encode(encoding)), W)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (",0,1,2\n0,0.0,0.5,0.2\n1,0.5,0.0,0.1\n2,0.2,0.1,0.0\n", [[0, 0.5, 0.2], [0.5, 0, 0.1], [0.2, 0.1, 0]]),
        ("132,126,104\n0,0.5,0.2\n0.5,0,0.1\n0.2,0.1,0\n", [[0, 0.5, 0.2], [0.5, 0, 0.1], [0.2, 0.1, 0]]),
        ("7,0,0.5\n9,0.5,0\n", [[0, 0.5], [0.5, 0]]),  # one column too many: the first counts the regions
        ("A B\nA 0 0.5\nB 0.5 0\n", [[0, 0.5], [0.5, 0]]),  # as R's write.table: no cell above the labels
        ("0,5 0,1\n0,1 0,5\n", [[0.5, 0.1], [0.1, 0.5]]),  # decimal commas between spaces
        ("0, 0.5\n0.5, 0\n", [[0, 0.5], [0.5, 0]]),
        ("0.5\n", [[0.5]]),
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1 2 0.5\n2 1 0.5\n0.5 0.5 1\n", [[1, 2, 0.5], [2, 1, 0.5], [0.5, 0.5, 1]]),
        ("\ufeff0;1e-3\n1E-3;0", [[0, 1e-3], [1e-3, 0]]),
    ],
)
def test_other_habits(text, expected):
    np.testing.assert_array_equal(matrix_from_text(text.encode()), expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,0.5,0.2\n0.5,0\n0.2,0.1,0\n", "line 2 has 2 numbers where 3 are expected"),
        ("A,B,C\n0,0.5,0.2\n0.5,0,x\n0.2,0.1,0\n", "line 3, column 3: 'x' is not a real number"),
        ("0,1,2,3\n1,0,5,6\n2,5,0,4\n3,6,4,0\n", "its first line and its first column both count 0, 1, 2"),
        ("0.1,0.2\n0.3,0.4\n0.5,0.6\n", "line 3 is row 3 of a W with 2 columns"),
        ("", "no numbers"),
    ],
)
def test_errors_blame_the_line_that_is_odd(text, words):
    with pytest.raises(ValueError, match=words):
        matrix_from_text(text.encode())


marks = st.text('0123.,;\t \n"-eEnaA#').map(str.encode)
hostile = st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | marks


@pytest.mark.filterwarnings("ignore:the text is not UTF-8")
@given(hostile)
def test_any_bytes_are_read_or_refused(data):
    with suppress(ValueError):
        W = matrix_from_text(data)
        assert W.ndim == 2
        assert W.shape[0] == W.shape[1]


def test_letters_that_are_not_utf8_are_noted_once():
    with pytest.warns(UserWarning, match="not UTF-8 and was read as Latin-1: numbers are right, but letters") as noted:
        found = matrix_from_text("é;b\n0;0,5\n0,5;0\n".encode("latin-1"))
    assert len(noted) == 1
    np.testing.assert_array_equal(found, [[0, 0.5], [0.5, 0]])


class TestMissing:
    @pytest.mark.parametrize("cell", ["", "NA", "nan", "NaN", "n/a", "null"])
    def test_cells_without_a_number(self, cell):
        W = matrix_from_text(f"0.1,{cell}\n0.5,0.2\n".encode())
        np.testing.assert_array_equal(W, [[0.1, np.nan], [0.5, 0.2]])

    def test_are_refused_with_the_options(self):
        with pytest.raises(ValueError, match=r"2 entries are missing, the first in row 1, column 2 of W; .*--missing"):
            fill_missing(np.array([[0.1, np.nan], [np.nan, 0.2]]))

    def test_an_undefined_diagonal_is_zero_and_said(self):
        with pytest.warns(UserWarning, match="the 2 missing entries on the diagonal of W are read as 0"):
            np.testing.assert_array_equal(fill_missing(np.array([[np.nan, 0.5], [0.5, np.nan]])), [[0, 0.5], [0.5, 0]])

    def test_a_diagonal_with_weights_and_gaps_is_refused(self):
        with pytest.raises(ValueError, match="1 entry is missing"):
            fill_missing(np.array([[0.3, 0.5], [0.5, np.nan]]))

    def test_drop_leaves_out_as_few_regions_as_it_takes(self):
        W = RNG.uniform(0.1, 1, (4, 4))
        holed = W.copy()
        holed[2, [0, 1, 3]] = holed[[0, 1, 3], 2] = np.nan
        with pytest.warns(UserWarning, match="1 of 4 regions are left out"):
            np.testing.assert_array_equal(fill_missing(holed, "drop"), W[np.ix_([0, 1, 3], [0, 1, 3])])

    def test_unknown_words(self):
        with pytest.raises(ValueError, match="missing must be 'zero', 'drop' or 'refuse', got"):
            fill_missing(np.eye(2), "mean")


class TestSymmetry:
    W = np.array([[90.0, 1200.0, 310.0], [1200.0, 70.0, 4500.0], [310.0, 4500.0, 80.0]])

    @pytest.mark.parametrize("half", [np.triu, np.tril])
    def test_a_triangle_is_mirrored_and_its_diagonal_kept(self, half):
        np.testing.assert_array_equal(symmetrized(half(self.W)), self.W)

    def test_what_stands_twice_becomes_its_mean_and_what_stands_once_stays(self):
        np.testing.assert_array_equal(
            symmetrized(np.array([[0, 2.0, 3.0], [4.0, 0, 0], [0, 0, 0]])), [[0, 3, 3], [3, 0, 0], [3, 0, 0]]
        )

    def test_which_triangle(self):
        assert triangle_of(np.triu(self.W)) == "upper"
        assert triangle_of(np.tril(self.W)) == "lower"
        assert triangle_of(self.W) == triangle_of(np.diag([1.0, 2.0])) == ""

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "w.csv"
        path.write_text(written(np.triu(self.W)))
        return path

    def test_files_of_one_triangle_are_refused(self, file):
        for options in ({}, {"spectral_radius": 0.9}):
            with pytest.raises(ValueError, match=r"stand in its upper triangle, .* with --symmetrize"):
                load_teacher(file, **options)

    def test_or_read_as_told(self, file):
        found = np.asarray(load_teacher(file, symmetrize=True, spectral_radius=0.9).W)
        np.testing.assert_allclose(found / found[0, 1], self.W / self.W[0, 1], rtol=1e-12)
        file.write_text(written(np.triu(self.W) / 1e4))
        np.testing.assert_array_equal(load_teacher(file, symmetrize=False).W, np.triu(self.W) / 1e4)

    def test_a_whole_teacher_is_taken_as_it_is(self, tmp_path):
        np.savez(tmp_path / "t.npz", A=np.eye(2), W=np.triu(np.ones((2, 2)), 1), B=np.eye(2))
        assert load_teacher(tmp_path / "t.npz").W[0, 1] == 1
        with pytest.raises(ValueError, match="it holds a whole teacher"):
            load_teacher(tmp_path / "t.npz", symmetrize=True)


def test_nothing_is_said_where_nothing_is_missing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fill_missing(np.eye(3))
