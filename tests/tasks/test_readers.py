"""Formats of weight files: what their own writers write reads back, and what is hostile gives one sentence."""

import bz2
import io
import json
import os
import struct
import sys
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from test_weight_files import complaint, npy_bytes, npz_bytes, survives

from localgrad.tasks import weight_files
from localgrad.tasks.readers import hdf5
from localgrad.tasks.readers.formats import READERS, read_weights
from localgrad.tasks.readers.graphml import read_graphml
from localgrad.tasks.teachers import aligned_modes, connectome, load_teacher

h5py = pytest.importorskip("h5py")
safetensors = pytest.importorskip("safetensors.numpy")

RNG = np.random.default_rng(0)
A, W, B = RNG.normal(size=(2, 4)), 0.2 * RNG.normal(size=(4, 4)), RNG.normal(size=(4, 3))
SPARSE = np.where(np.abs(W) > 0.1, W, 0.0)
STACK = 0.2 * RNG.normal(size=(3, 4, 4))


@pytest.fixture
def write(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def mat_bytes(**arrays):
    stream = io.BytesIO()
    options = {name: arrays.pop(name) for name in ("do_compression", "format") if name in arrays}
    scipy.io.savemat(stream, arrays, **options)
    return stream.getvalue()


def h5_bytes(fill):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def matlab_73(**arrays):
    """As MATLAB stores them: columns first, with the class as an attribute, behind 512 bytes of its own header."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            if scipy.sparse.issparse(array):
                group = file.create_group(name)
                group.attrs["MATLAB_sparse"] = array.shape[0]
                group["data"], group["ir"], group["jc"] = array.data, array.indices, array.indptr
            else:
                file[name] = array.T
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
    data = bytearray(stream.getvalue())
    data[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    return bytes(data)


def sparse_npz(matrix):
    stream = io.BytesIO()
    scipy.sparse.save_npz(stream, matrix)
    return stream.getvalue()


def zip_of(members, compression=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def text(matrix):
    return "\n".join(" ".join(map(repr, map(float, row))) for row in matrix).encode()


def graphml(
    edges, nodes="abcd", direction="directed", key='<key id="d0" for="edge" attr.name="weight" attr.type="double"/>'
):
    lines = "".join(f'<node id="{node}"/>' for node in nodes)
    lines += "".join(f'<edge source="{j}" target="{i}"><data key="d0">{w!r}</data></edge>' for j, i, w in edges)
    space = 'xmlns="http://graphml.graphdrawing.org/xmlns"'
    return f'<graphml {space}>{key}<graph edgedefault="{direction}">{lines}</graph></graphml>'.encode()


def edges_of(matrix, names="abcd"):
    return [(names[j], names[i], float(matrix[i, j])) for i, j in np.argwhere(matrix)]


def edge_lines(matrix, names, separator=" "):
    return "".join(f"{j}{separator}{i}{separator}{w!r}\n" for j, i, w in edges_of(matrix, names))


# Good files


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("one.npz", npz_bytes(weights=W), W),
        ("two.npz", npz_bytes(tract_lengths=W.T, weights=W, labels=np.array(["a"])), W),
        ("csr.npz", sparse_npz(scipy.sparse.csr_array(SPARSE)), SPARSE),
        ("csc.npz", sparse_npz(scipy.sparse.csc_matrix(SPARSE)), SPARSE),
        ("coo.npz", sparse_npz(scipy.sparse.coo_array(SPARSE)), SPARSE),
        ("five.mat", mat_bytes(SC=W, threshold=0.5, labels=["a", "b"]), W),
        ("packed.mat", mat_bytes(SC=W, do_compression=True), W),
        ("sparse.mat", mat_bytes(SC=scipy.sparse.csc_matrix(SPARSE)), SPARSE),
        ("whole.MAT", mat_bytes(SC=np.array([[0, 1], [0, 0]], dtype=np.uint8), W=W), W),
        ("seven.mat", matlab_73(SC=W, one=np.ones((1, 1))), W),
        ("seven_sparse.mat", matlab_73(SC=scipy.sparse.csc_matrix(SPARSE)), SPARSE),
        ("tvb.h5", h5_bytes(lambda f: f.update({"weights": W, "tract_lengths": W})), W),
        ("packed.h5", h5_bytes(lambda f: f.create_dataset("w", data=W, compression="gzip", chunks=(2, 2))), W),
        ("tvb.zip", zip_of({"c/weights.txt": text(W), "c/centres.txt": b"a 0 0 0"}), W),
        ("packed.zip", zip_of({"weights.txt.bz2": bz2.compress(text(W))}), W),
        ("g.graphml", graphml(edges_of(SPARSE)), SPARSE),
        ("e.edges", edge_lines(W, "1234"), W),
        ("e.edgelist", edge_lines(W, ["3", "7", "20", "100"], "\t"), W),
        ("e.csv", "source,target,weight\n" + edge_lines(W, ["V1", "V2", "V4", "MT"], ","), W),
        ("e.csv", '"from";"to";"weight"\n' + edge_lines(W, "abcd", ";").replace(".", ","), W),
        ("e.txt", edge_lines(W, "0123"), W),
        ("e.tsv", "id\tTarget\tSource\tWeight\n" + "".join(f"1\t{i}\t{j}\t{w!r}\n" for j, i, w in edges_of(W)), W),
        ("w.safetensors", safetensors.save({"weight_hh_l0": W, "bias_hh_l0": np.zeros(4)}), W),
        ("w.safetensors", safetensors.save({"W": W}), W),
    ],
)
def test_a_bare_matrix_in_every_format(write, name, data, expected):
    teacher = load_teacher(write(name, data), symmetrize=False)
    np.testing.assert_array_equal(teacher.W, expected)
    np.testing.assert_array_equal(teacher.A, np.eye(len(expected)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w.mat", mat_bytes(A=A, W=W, B=B)),
        ("w.mat", matlab_73(A=A, W=W, B=B)),
        ("w.h5", h5_bytes(lambda f: f.update({"A": A, "W": W, "B": B}))),
        ("w.safetensors", safetensors.save({"A": A, "W": W, "B": B})),
        ("w.safetensors", safetensors.save({"rnn.weight_hh_l0": W, "rnn.weight_ih_l0": B, "readout.weight": A})),
        ("w.safetensors", safetensors.save({"cell.weight_hh": W, "cell.weight_ih": B, "fc.weight": A})),
    ],
)
def test_a_whole_teacher_in_every_format_that_holds_one(write, name, data):
    teacher = load_teacher(write(name, data))
    for loaded, saved in zip(teacher.matrices, (A, W, B), strict=True):
        np.testing.assert_array_equal(loaded, saved)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("s.npy", npy_bytes(STACK)),
        ("s.npy", npy_bytes(np.moveaxis(STACK, 0, 2))),
        ("s.npz", npz_bytes(W=STACK)),
        ("s.mat", mat_bytes(SC=np.moveaxis(STACK, 0, 2))),
        ("s.mat", matlab_73(SC=np.moveaxis(STACK, 0, 2))),
    ],
)
def test_one_subject_of_a_stack(write, name, data):
    path = write(name, data)
    np.testing.assert_array_equal(load_teacher(path, subject=1).W, STACK[1])
    assert "a stack of 3 networks; choose one with --subject K" in complaint(path)
    assert "subject 3 is asked for in a stack of 3" in complaint(path, subject=3)


def test_a_stack_as_long_as_it_is_wide_and_a_single_network(write):
    assert "open which axis counts the subjects" in complaint(write("s.npy", npy_bytes(STACK[:, :3, :3])), subject=0)
    np.testing.assert_array_equal(load_teacher(write("one.npy", npy_bytes(STACK[:1]))).W, STACK[0])
    assert "it holds one network" in complaint(write("w.npy", npy_bytes(W)), subject=0)


def test_a_list_of_connections_that_stand_once_is_open_until_it_is_said(write):
    path = write("once.edges", "V1 V2 0.5\nV4 V1 0.25\nV2 V2 0.125\n")
    assert "each connection is listed once" in complaint(path)
    expected = np.array([[0, 0.5, 0.25], [0.5, 0.125, 0], [0.25, 0, 0]])
    np.testing.assert_array_equal(load_teacher(path, symmetrize=True).W, expected)
    directed = np.array([[0, 0, 0.25], [0.5, 0.125, 0], [0, 0, 0]])
    np.testing.assert_array_equal(load_teacher(path, symmetrize=False).W, directed)


def test_graphs_say_their_directions_and_weights(write):
    symmetric = np.array([[0, 0.5, 0], [0.5, 0, 0.25], [0, 0.25, 0.125]])
    edges = [("a", "b", 0.5), ("b", "c", 0.25), ("c", "c", 0.125)]
    assert np.array_equal(load_teacher(write("u.graphml", graphml(edges, "abc", "undirected"))).W, symmetric)
    fibres = '<key id="d0" for="edge" attr.name="fibres" attr.type="int"/>'
    assert np.array_equal(read_graphml(graphml(edges, "abc", "undirected", fibres)).W, symmetric)
    plain = read_graphml(graphml(edges, "abc", "undirected", "")).W
    assert np.array_equal(plain, symmetric != 0)
    several = fibres + '<key id="d1" for="edge" attr.name="length" attr.type="double"/>'
    assert "several numbers ('fibres', 'length')" in complaint(write("s.graphml", graphml(edges, "abc", key=several)))


@pytest.mark.parametrize("regions", [66, 68, 76, 96, 192])
def test_the_connectivities_of_tvb(regions, tmp_path):
    tvb = pytest.importorskip("tvb_data")
    path = os.path.join(os.path.dirname(tvb.__file__), "connectivity", f"connectivity_{regions}.zip")
    np.testing.assert_allclose(load_teacher(path, spectral_radius=0.95).W, connectome(regions)[0], rtol=1e-12)


# Precision


def test_float32_is_judged_in_its_own_precision(write):
    P, _ = np.linalg.qr(RNG.normal(size=(40, 40)))
    network = ((P * np.linspace(-0.5, 0.9, 40)).astype("f4") @ P.T.astype("f4")).astype("f4")
    assert 0 < np.abs(network - network.T).max() < 1e-6  # symmetric but for the rounding of a product
    teacher = load_teacher(write("w.npy", npy_bytes(network)))
    assert teacher.W.dtype == np.float32
    modes, _ = aligned_modes(teacher)
    assert modes.w[0] == pytest.approx(0.9, abs=1e-6)
    with pytest.raises(ValueError, match="not symmetric"):
        aligned_modes(load_teacher(write("w.npy", npy_bytes(network.astype("f8")))))


def test_a_radius_within_rounding_of_1_is_refused(write):
    nearly = np.eye(3, dtype="f4") * np.float32(1 - 2**-24)
    assert "is 1 within the rounding of its float32 numbers" in complaint(write("w.npy", npy_bytes(nearly)))
    assert load_teacher(write("w.npy", npy_bytes(nearly.astype("f8")))).W.shape == (3, 3)


# Bad files


def _safetensors_of(dtype):
    """Four bytes of a 2 × 2 matrix of some type that NumPy does not know."""
    head = json.dumps({"W": {"dtype": dtype, "shape": [2, 2], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(head)) + head + b"1234"


BILLION_LAUGHS = (
    b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><graphml><graph>&b;</graph></graphml>'
)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("m.pt", b"x", "is a pickle, which can run any program when it is read; save the weights with safetensors"),
        ("m.pkl", b"x", "is a pickle"),
        ("w.xlsx", b"x", "the suffix '.xlsx' is not known; use one of .npz, .npy, .csv"),
        ("w.npz", npz_bytes(x=W, y=W), "2 square matrices, and none is called W (found x 4×4, y 4×4)"),
        ("w.npz", npz_bytes(x=W[:3]), "no square matrix"),
        ("w.npz", npz_bytes(x=1j * W), "complex128"),
        ("w.mat", mat_bytes(W=1j * W), "W has entries of type complex"),
        ("w.mat", mat_bytes(W=W, format="4"), "no .mat file"),
        ("w.mat", matlab_73(W=W)[:-100], "no HDF5 file"),
        ("w.mat", mat_bytes(W=W)[:-8], "no .mat file"),
        ("w.mat", mat_bytes(model={"W": W}), "no square matrix"),
        ("w.h5", h5_bytes(lambda f: f.create_group("g").update({"W": W})), "no square matrix"),
        ("w.h5", h5_bytes(lambda f: f.update({"W": 1j * W})), "complex128"),
        ("w.h5", h5_bytes(lambda f: f.update({"W": h5py.ExternalLink("/etc/passwd", "/W")})), "no square matrix"),
        ("w.h5", h5_bytes(lambda f: f.create_dataset("W", (10**6, 10**6), "f8", chunks=(1, 1))), "W claims shape"),
        ("w.h5", h5_bytes(lambda f: f.create_dataset("W", (4, 4), "f8", maxshape=(None,) * 2, chunks=(2**14, 2**13))),
         "unpacks in chunks of 1,073,741,824 bytes"),
        ("w.zip", zip_of({"centres.txt": b"a 0 0 0"}), "has 0 files weights.txt"),
        ("w.zip", zip_of({"weights.txt.bz2": b"junk"}), "is damaged"),
        ("w.safetensors", b"junk", "no safetensors file"),
        ("w.safetensors", safetensors.save({"weight_hh_l0": W, "weight_hh_l1": W}), "2 recurrent layers"),
        ("w.safetensors", safetensors.save({"weight_hh_l0": np.ones((16, 4))}), "gated units"),
        ("w.safetensors", safetensors.save({"weight_hh_l0": W, "bias_hh_l0": np.ones(4)}), "has no biases"),
        ("w.safetensors", safetensors.save({"weight_hh_l0": W, "f.weight": A, "g.weight": A}), "open which of"),
        ("w.safetensors", _safetensors_of("F8_E5M2"), "'W' has entries of type"),
        ("g.graphml", BILLION_LAUGHS, "declares a document type"),
        ("g.graphml", b"<graphml><graph></graphml>", "no well-formed XML"),
        ("g.graphml", b"<graphml/>", "no graph with nodes"),
        ("g.graphml", b"<a>" * 100, "nested more than 64 deep"),
        ("g.graphml", graphml([("a", "z", 0.5)]), "has an end that is no node"),
        ("g.graphml", graphml([("a", "b", 0.5), ("a", "b", 0.5)]), "two edges connect 'a' and 'b'"),
        ("g.graphml", graphml([("a", "b", "x")]), "has no number as its weight"),
        ("e.edges", "a b\n", "line 1 has 2 cells"),
        ("e.edges", "a b 1\na b 2\n", "line 2 gives the connection 'a' → 'b' a second time"),
        ("e.edges", "0 1 {}\n", "'{}' is not a real number"),
        ("e.csv", "source,target,weight\na,b,x\n", "line 2, column 3: 'x' is not a real number"),
        ("e.csv", "source,target,weight\n", "no connections"),
        ("e.edges", "".join(f"a{i} b{i} 1\n" for i in range(3000)), "names 6,000 units"),
    ],
)  # fmt: skip
def test_a_bad_file_says_what_is_wrong(write, name, data, words):
    message = complaint(write(name, data))
    assert words in message
    assert len(message) < 450


def test_a_package_that_is_not_there_is_named(write, monkeypatch):
    paths = write("w.h5", h5_bytes(lambda f: f.update({"W": W}))), write("w.safetensors", safetensors.save({"W": W}))
    for path, package in zip(paths, ("h5py", "safetensors"), strict=True):
        monkeypatch.setitem(sys.modules, package, None)
        assert f"need the package {package}; pip install 'localgrad[files]'" in complaint(path)


# Bombs: little is read before a size is refused


ZEROS = bytes(10**7)


def _mat_element(kind, data):
    return struct.pack("<II", kind, len(data)) + data


MAT_HEADER = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
BOMBS = {
    "npz.npz": zip_of({f"{name}.npy": npy_bytes(np.zeros((3000, 3000), np.int8)) for name in "AWB"}),
    "one.npz": zip_of({"W.npy": npy_bytes(np.zeros((3000, 3000), np.int8))}),
    "npy.npy": npy_bytes(np.zeros((3000, 3000), bool)),
    "tvb.zip": zip_of({"weights.txt": ZEROS}),
    "bz2.zip": zip_of({"weights.txt.bz2": bz2.compress(ZEROS)}),
    "mat.mat": MAT_HEADER + _mat_element(15, zlib.compress(ZEROS)),
    "shape.mat": mat_bytes(W=np.zeros((3000, 3000), np.int8), do_compression=True),
    "gzip.h5": h5_bytes(lambda f: f.create_dataset("W", data=np.zeros((3000, 3000), np.int8), compression="gzip")),
    "csr.npz": sparse_npz(scipy.sparse.csr_array((3000, 3000))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_too_much_is_refused_before(write, monkeypatch, name):
    from localgrad.tasks.readers import matlab, tvb, weights

    for module in (weight_files, matlab, tvb, hdf5):
        monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    monkeypatch.setattr(weights, "MAX_ENTRIES", 2**17)
    data = BOMBS[name]
    path = write(name, data[: 2**20 - 1] if name == "npy.npy" else data)
    tracemalloc.start()
    try:
        message = complaint(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "above the limit" in message or "unpacks to more than 1,048,576 bytes" in message
    assert peak < 6 * 2**20  # of the 9 or 10 MB that they unpack to


def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path):
    started = time.monotonic()
    for suffix in READERS:
        pipe, link, device = (tmp_path / f"{kind}{suffix}" for kind in ("pipe", "link", "device"))
        os.mkfifo(pipe)
        link.symlink_to(tmp_path / "nothing")
        device.symlink_to("/dev/zero")
        assert "is a folder or device" in complaint(pipe)
        assert "does not exist" in complaint(link)
        assert "is a folder or device" in complaint(device)
    assert time.monotonic() - started < 5


def test_a_link_to_a_file_is_that_file(tmp_path, write):
    (tmp_path / "link.npy").symlink_to(write("w.npy", npy_bytes(W)))
    np.testing.assert_array_equal(load_teacher(tmp_path / "link.npy").W, W)


# Fuzzing


SEEDS = {
    "one.npz": npz_bytes(weights=W),
    "csr.npz": sparse_npz(scipy.sparse.csr_array(SPARSE)),
    "five.mat": mat_bytes(SC=W, note="x"),
    "sparse.mat": mat_bytes(SC=scipy.sparse.csc_matrix(SPARSE)),
    "packed.mat": mat_bytes(SC=W, do_compression=True),
    "tvb.zip": zip_of({"weights.txt": text(W)}, zipfile.ZIP_STORED),
    "g.graphml": graphml(edges_of(W)),
    "e.edges": edge_lines(W, "1234").encode(),
    "e.csv": ("source,target,weight\n" + edge_lines(W, "1234", ",")).encode(),
    "w.safetensors": safetensors.save({"rnn.weight_hh_l0": W, "rnn.weight_ih_l0": B, "readout.weight": A}),
}


@pytest.mark.filterwarnings("ignore:the . missing entries", "ignore:the text is not UTF-8")
@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_flipped_and_cut_bytes_never_do_worse(tmp_path_factory, name, data):
    damaged = bytearray(SEEDS[name])
    flips = st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=6)
    for position, value in data.draw(flips):
        damaged[position] = value
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    survives(tmp_path_factory.getbasetemp() / name, bytes(damaged[:end]))


@pytest.mark.filterwarnings("ignore:the . missing entries")
@pytest.mark.parametrize("name", ["five.mat", "sparse.mat"])
def test_claims_inside_a_mat_file_allocate_nothing(tmp_path, name):
    """Every word of the file in turn claims 2 GiB or a negative number."""
    seed, path = SEEDS[name], tmp_path / name
    tracemalloc.start()
    for at in range(128, len(seed), 4):
        for claim in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x40"):
            survives(path, seed[:at] + claim + seed[at + 4 :])
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_reading_gives_weights_for_every_suffix(tmp_path):
    with pytest.raises(ValueError, match="not known"):
        read_weights(tmp_path / "w.unknown")
