"""Teacher files: what a good one gives, and that a bad one gives one clear sentence and nothing worse."""

import io
import os
import re
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localgrad.models.linear import LinearRNN, spectral_radius
from localgrad.tasks import weight_files
from localgrad.tasks.teachers import load_teacher

RNG = np.random.default_rng(0)
A, W, B = RNG.normal(size=(2, 4)), 0.2 * RNG.normal(size=(4, 4)), RNG.normal(size=(4, 3))


def npy_bytes(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npz_bytes(save=np.savez, **arrays):
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def header(shape, dtype="<f8"):
    """An .npy file that is all header."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zip_bytes(compression=zipfile.ZIP_STORED, **members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


@pytest.fixture
def write(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def complaint(path, **options):
    """The error of a bad file, which must be one sentence naming the file."""
    with pytest.raises(ValueError, match="teacher file") as caught:
        load_teacher(path, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert caught.value.__suppress_context__  # no second traceback to read
    return message


# Good files


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_holds_a_whole_teacher(write, save):
    teacher = load_teacher(write("teacher.npz", npz_bytes(save, A=A, W=W, B=B, note=np.zeros(3))))
    for loaded, saved in zip((teacher.A, teacher.W, teacher.B), (A, W, B), strict=True):
        np.testing.assert_array_equal(loaded, saved)


def test_npz_members_without_their_ending_are_not_arrays(write):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in "AWB":
            archive.writestr(name, npy_bytes(W))
    assert "has no array A, W, B" in complaint(write("renamed.npz", stream.getvalue()))


TEXT = "\n".join(",".join(map(repr, map(float, row))) for row in W)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w.npy", npy_bytes(W)),
        ("w.NPY", npy_bytes(np.asfortranarray(W))),
        ("w.npy", npy_bytes(W.astype(">f8"))),
        ("w.csv", TEXT),
        ("w.csv", "\ufeff# from a scanner\r\nV1, V2, V3, V4\r\n" + TEXT.replace("\n", "\r\n") + "\r\n\r\n"),
        ("w.txt", TEXT.replace(",", " \t")),
        ("w.txt", "V1 V2 V3 V4\n" + TEXT.replace(",", "  ") + "  # the last row\n"),
    ],
)
def test_a_bare_matrix_has_identity_input_and_output(write, name, data):
    teacher = load_teacher(write(name, data))
    np.testing.assert_array_equal(teacher.W, W)
    np.testing.assert_array_equal(teacher.A, np.eye(4))
    np.testing.assert_array_equal(teacher.B, np.eye(4))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, np.float32, np.longdouble])
def test_every_real_type_is_read_and_narrow_ones_stay_in_32_bits(write, dtype):
    path = write("w.npy", npy_bytes(np.array([[0, 1], [1, 0]], dtype=dtype)))
    teacher = load_teacher(path, spectral_radius=0.5)
    assert teacher.W.dtype == (np.float32 if dtype in (np.float16, np.float32) else np.float64)
    np.testing.assert_allclose(teacher.W, [[0, 0.5], [0.5, 0]], rtol=1e-15)


@pytest.mark.parametrize("size", [1e-300, 1e-5, 1.0, 1e5, 1e300])
def test_scaling_reaches_the_spectral_radius_at_any_size(write, size):
    path = write("w.npy", npy_bytes(size * W))
    scaled = load_teacher(path, spectral_radius=0.9).W
    assert spectral_radius(scaled) == pytest.approx(0.9, rel=1e-12)  # rounding of a 4 × 4 eigenproblem
    np.testing.assert_allclose(scaled / scaled[0, 0], W / W[0, 0], rtol=1e-12)


def test_a_whole_teacher_is_taken_as_it_is_or_scaled(write):
    path = write("teacher.npz", npz_bytes(A=A, W=20 * W, B=B))
    np.testing.assert_array_equal(load_teacher(path).W, 20 * W)
    assert spectral_radius(load_teacher(path, spectral_radius=0.5).W) == pytest.approx(0.5, rel=1e-12)


def test_a_large_bare_matrix_names_its_radius_and_the_remedy(write):
    assert re.search(r"spectral radius 2\.5,.*--spectral-radius", complaint(write("w.csv", "2.5,0\n0,0.1")))


# Bad files


def test_paths_that_are_no_file(tmp_path, monkeypatch):
    assert "does not exist" in complaint(tmp_path / "none.npz")
    assert "does not exist" in complaint(tmp_path / "line\nbreak.npz")
    assert "does not exist" in complaint(tmp_path / "null\0.npz")
    assert "cannot be read" in complaint(tmp_path / f"{'long' * 100}.npz")
    (tmp_path / "folder.npz").mkdir()
    assert "is a folder" in complaint(tmp_path / "folder.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    assert "device" in complaint(tmp_path / "pipe.npz")
    assert ".npz, .npy, .csv" in complaint(tmp_path / "w.xls")


def test_a_file_that_may_not_be_read(write, monkeypatch):
    path = write("w.npy", npy_bytes(W))
    monkeypatch.setattr("os.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert "Permission denied" in complaint(path)


@pytest.mark.parametrize("name", ["w.npz", "w.npy", "w.csv", "w.txt"])
def test_empty_and_oversized_files(write, name):
    assert "is empty" in complaint(write(name, b""))
    path = write(name, b"")
    os.truncate(path, weight_files.MAX_BYTES + 1)  # sparse: takes no space
    assert "above the limit" in complaint(path)


NAN = W.copy()
NAN[1, 2] = np.nan
PICKLED = np.array([[{}]], dtype=object)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("w.npy", npy_bytes(W)[:-1], "claims shape (4, 4) of float64, but 127 bytes follow"),
        ("w.npy", npy_bytes(W) + b"x", "129 bytes follow"),
        ("w.npy", b"\x93NUMPY\x01\x00", "half-written"),
        ("w.npy", b"\x93NUMPY\x09\x00" + npy_bytes(W)[8:], "no .npy array"),
        ("w.npy", npz_bytes(W=W), "no .npy array"),
        ("w.npy", npy_bytes(PICKLED, allow_pickle=True), "never unpickled"),
        ("w.npy", npy_bytes(1j * W), "complex128"),
        ("w.npy", npy_bytes(np.array([["a"]])), "type <U1"),
        ("w.npy", npy_bytes(np.zeros((2, 2), dtype=[("x", "f8")])), "real numbers"),
        ("w.npy", npy_bytes(np.zeros((2, 2), dtype="M8[s]")), "datetime64"),
        ("w.npy", npy_bytes(W[:3]), "W is 3 × 4"),
        ("w.npy", npy_bytes(W[0]), "shape (4,)"),
        ("w.npy", npy_bytes(np.float64(0.5)), "shape ()"),
        ("w.npy", npy_bytes(W[None, None]), "shape (1, 1, 4, 4)"),
        ("w.npy", npy_bytes(W[:0, :0]), "shape (0, 0)"),
        ("w.npy", npy_bytes(NAN), "1 entry is missing, the first in row 2, column 3 of W"),
        ("w.npy", npy_bytes(np.full((1, 1), np.longdouble("1e4000"))), "W[0, 0] = inf"),
        ("w.npy", header((10**6, 10**6)), "claims shape (1000000, 1000000)"),
        ("w.npy", header((10**4000, 10**4000)), "claims shape (1000"),
        ("w.npy", header((-2, -2)) + bytes(32), "shape (-2, -2)"),
        ("w.npz", npz_bytes(A=A, W=W, B=B)[:-30], "half-written"),
        ("w.npz", npy_bytes(W), "no zip archive"),
        ("w.npz", npz_bytes(A=A, W=W), "no array B (found A 2×4, W 4×4)"),
        ("w.npz", npz_bytes(weights=W[0]), "no array A, W, B, and no square matrix (found weights 4)"),
        ("w.npz", zip_bytes(), "no array A, W, B, and no square matrix (found nothing)"),
        ("w.npz", npz_bytes(A=A, W=PICKLED, B=B), "W holds Python objects"),
        ("w.npz", npz_bytes(A=A.T, W=W, B=B), "A has 2 columns"),
        ("w.npz", npz_bytes(A=A, W=W, B=B.T), "B 3 rows"),
        ("w.npz", npz_bytes(A=A, W=W, B=np.full((4, 1), -np.inf)), "B[0, 0] = -inf"),
        ("w.npz", zip_bytes(A=npy_bytes(A), W=npy_bytes(W), B=npy_bytes(B)[:-8]), "B claims shape (4, 3)"),
        ("w.npz", zip_bytes(A=npy_bytes(A), W=header((10**9, 10**9)), B=npy_bytes(B)), "W claims shape"),
        ("w.npz", zip_bytes(A=b"", W=npy_bytes(W), B=npy_bytes(B)), "A is damaged"),
        ("w.csv", npy_bytes(W), "it is not text"),
        ("w.csv", "é,0.5\n0.5,0".encode("latin-1"), "'é' is not a real number"),
        ("w.csv", "# only a comment\n\n", "no numbers"),
        ("w.csv", "a,b\n", "line 1, column 1: 'a' is not a real number"),
        ("w.csv", "a,b\nc,d\n1,2\n", "line 2, column 1: 'c'"),
        ("w.csv", "0.1,0.2\n0.3,0.x\n", "line 2, column 2: '0.x' is not a real number"),
        ("w.csv", "0.1,x\n0.3,0.4\n", "line 1, column 2: 'x'"),
        ("w.csv", "0.1,1_0\n0.3,0.4\n", "'1_0'"),
        ("w.csv", "0.1,1+2j\n0.3,0.4\n", "'1+2j' is not a real number"),
        ("w.csv", "0.1,0.2\n0.3,nan\n", "1 entry is missing, the first in row 2, column 2 of W"),
        ("w.csv", "0.1,0.2\n0.3,1e999\n", "W[1, 1] = inf"),
        ("w.csv", "0.1,0.2\n0.3\n", "line 2 has 1 numbers where 2 are expected"),
        ("w.csv", "1,1\n0.1,0.2\n0.3,0.4\n", "line 3 is row 3 of a W with 2 columns"),
        ("w.txt", "0.1 0.2 0.3\n0.3 0.4 0.5\n", "it has 2 lines of 3 numbers"),
        ("w.txt", "0 " * 10_000, "10,000 numbers, too many"),
        ("w.txt", "x" * 10_000 + " 1", "'xxx"),
        ("w.txt", "0 " * 2**19, "line 1 has 1,048,576 characters or more"),
    ],
)
@pytest.mark.filterwarnings("ignore:the text is not UTF-8")
def test_a_bad_file_says_what_is_wrong(write, name, data, words):
    message = complaint(write(name, data))
    assert words in message
    assert name in message
    assert len(message) < 400  # a hostile value does not fill the screen


def test_a_member_that_claims_too_much_is_not_unpacked(monkeypatch):
    bomb = zip_bytes(zipfile.ZIP_DEFLATED, A=npy_bytes(A), W=bytes(10**6), B=npy_bytes(B))
    assert len(bomb) < 10**4
    monkeypatch.setattr(weight_files, "MAX_BYTES", 10**5)
    with pytest.raises(ValueError, match=r"W.npy claims 1,000,000 bytes"):
        weight_files.read_member(weight_files.open_archive(bomb), "W.npy")


def test_what_32_bits_cannot_hold_is_refused(write):
    with jax.enable_x64(False):
        assert "W[0, 0] = 1e+39 (counted from 0) is too large for the 32-bit" in complaint(write("w.csv", "1e39"))


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.triu(np.ones((3, 3)), 1), np.array([[0, 1e300], [0, 0]])])
def test_a_radius_of_zero_cannot_be_scaled(write, matrix):
    file = write("w.npy", npy_bytes(matrix))
    assert "cannot be scaled to 0.9" in complaint(file, spectral_radius=0.9, symmetrize=False)


def test_zero_is_a_teacher_as_it_is(write):
    np.testing.assert_array_equal(load_teacher(write("w.csv", "0,0\n0,0")).W, np.zeros((2, 2)))


@pytest.mark.parametrize("radius", [0, 1, 1.5, -0.5, np.nan, np.inf])
def test_the_radius_asked_for_must_be_stable(write, radius):
    with pytest.raises(ValueError, match=re.escape(f"spectral_radius = {radius!r} must lie strictly between 0 and 1")):
        load_teacher(write("w.npy", npy_bytes(W)), spectral_radius=radius)


# Fuzzing: a LinearRNN, or one sentence; never another exception, a warning, or a large allocation


def survives(path, data):
    path.write_bytes(data)
    try:
        result = load_teacher(path)
    except ValueError as error:
        result = str(error)
    assert isinstance(result, LinearRNN) or (result.startswith("teacher file") and len(result.splitlines()) == 1)


SEEDS = {
    "w.npy": npy_bytes(W),
    "w.npz": npz_bytes(A=A, W=W, B=B),
    "c.npz": npz_bytes(np.savez_compressed, A=A, W=W, B=B),
    "w.csv": ("a,b,c,d\n" + TEXT).encode(),
}


@pytest.mark.parametrize("name", ["w.npy", "w.npz", "c.npz"])
def test_a_file_cut_anywhere_is_refused(tmp_path, name):
    path = tmp_path / name
    for end in range(len(SEEDS[name])):
        path.write_bytes(SEEDS[name][:end])
        complaint(path)


@pytest.mark.filterwarnings("ignore:the text is not UTF-8")
@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_flipped_bytes_never_do_worse(tmp_path_factory, name, data):
    damaged = bytearray(SEEDS[name])
    flips = st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    for position, value in data.draw(flips):
        damaged[position] = value
    survives(tmp_path_factory.getbasetemp() / name, bytes(damaged))


@pytest.mark.parametrize("name", ["w.npy", "w.npz"])
@given(junk=st.binary(max_size=200))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_a_header_of_junk(tmp_path_factory, name, junk):
    """Hits the parser of the header itself, which random flips rarely do."""
    fake = b"\x93NUMPY\x01\x00" + len(junk).to_bytes(2, "little") + junk
    survives(
        tmp_path_factory.getbasetemp() / name,
        fake if name == "w.npy" else zip_bytes(A=npy_bytes(A), W=fake, B=npy_bytes(B)),
    )
