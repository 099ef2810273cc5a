"""Faults of the disk: after each, resuming gives the store of an undisturbed sweep, byte for byte, or names it."""

import errno
import json
import os
import shutil
import warnings

import numpy as np
import pytest
from sweep_cases import MODES, changed, data_files

import localgrad as lg
from localgrad import files
from localgrad.sweeps.plan import Plan
from localgrad.sweeps.reading import define
from localgrad.sweeps.store import RECEIPTS, open_store

CHUNKED = changed(MODES, chunk=9)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "runs.zarr"
    lg.sweep(CHUNKED, out=out, workers=0)
    return out


@pytest.fixture
def store(whole, tmp_path):
    """A copy of the whole store, to be damaged."""
    return shutil.copytree(whole, tmp_path / "runs.zarr")


def resumed(store, computed, monkeypatch, words=None):
    """Run the sweep again; `computed` is how many chunks that must take, `words` what it warns of."""
    counted, job = [], Plan.job
    monkeypatch.setattr(Plan, "job", lambda self, place, *rest: counted.append(place) or job(self, place, *rest))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = lg.sweep(CHUNKED, out=store, workers=0)
    monkeypatch.undo()
    assert len(counted) == computed
    told = [str(warning.message) for warning in caught]
    assert len(told) == (0 if words is None else 1), told
    if words is not None:
        assert words in told[0]
    return data


CHUNK = "outcome/c/1/0/0"


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "flipped": (lambda store: flip(store / CHUNK), "chunk (1, 0, 0) of", 1),
    "truncated": (lambda store: (store / CHUNK).write_bytes((store / CHUNK).read_bytes()[:7]), "file of outcome", 1),
    "empty": (lambda store: (store / CHUNK).write_bytes(b""), "is not what was written (0 bytes)", 1),
    "missing": (lambda store: (store / CHUNK).unlink(), "is missing", 1),
    "exchanged": (
        lambda store: (store / CHUNK).write_bytes((store / "outcome/c/0/0/0").read_bytes() + b" "), "outcome", 1,
    ),
    "receipt flipped": (lambda store: flip(store / RECEIPTS / "1.0.0.json"), "chunk (1, 0, 0)", 1),
    "receipt truncated": (
        lambda store: (store / RECEIPTS / "1.0.0.json").write_bytes(b'{"extent": [1'), "chunk (1, 0, 0)", 1,
    ),
    "receipt of nonsense": (lambda store: (store / RECEIPTS / "1.0.0.json").write_bytes(b"[3]"), "receipt is", 1),
    "receipt missing": (lambda store: (store / RECEIPTS / "1.0.0.json").unlink(), None, 1),
    "receipt of no chunk": (lambda store: (store / RECEIPTS / "9.9.9.json").write_bytes(b"{}"), None, 0),
    "metadata truncated": (lambda store: (store / "outcome/zarr.json").write_bytes(b"{"), None, 0),
    "coordinates flipped": (lambda store: flip(store / "scale/c/0"), None, 0),
    "left over": (lambda store: (store / "outcome/c/.0.partial").write_bytes(b"x"), None, 0),
    "nothing": (lambda store: None, None, 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_only_that_chunk_computed_again(kind, whole, store, monkeypatch):
    damage, words, computed = DAMAGE[kind]
    damage(store)
    data = resumed(store, computed, monkeypatch, words)
    assert data_files(store) == data_files(whole)
    assert np.all(data.status == 1)


def test_every_byte_of_a_chunk_is_watched(whole, store):
    """Whichever byte of a file flips, the receipt does not fit; and Zarr itself refuses to read it."""
    path = store / CHUNK
    good = path.read_bytes()
    definition = define(CHUNKED, ".")
    for place in range(0, len(good), 3):
        path.write_bytes(good[:place] + bytes([good[place] ^ 128]) + good[place + 1 :])
        with open_store(store, definition) as found:
            assert list(found.damaged) == [(1, 0, 0)]
    path.write_bytes(good)
    path = store / RECEIPTS / "1.0.0.json"
    good = path.read_bytes()
    for place in range(0, len(good), 29):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with open_store(store, definition) as found:
            assert list(found.damaged) == [(1, 0, 0)]
    path = store / CHUNK
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    import xarray as xr

    with pytest.raises(ValueError, match=r"(?i)checksum|crc"):
        xr.open_zarr(store, chunks=None).outcome.load()


@pytest.mark.parametrize("calls", range(1, 40, 3))
def test_a_full_disk_costs_nothing_that_was_stored(calls, whole, tmp_path, monkeypatch):
    """The disk is full at some write, or some flush, of any file; then there is room again."""
    out, left = tmp_path / "runs.zarr", [calls]

    def full(descriptor, really=os.fsync):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="could not be written") as caught:
        lg.sweep(CHUNKED, out=out, workers=0)
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value.filename).startswith(str(out))
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.partial"))
    lg.sweep(CHUNKED, out=out, workers=0)
    assert data_files(out) == data_files(whole)


def test_a_store_that_may_not_be_written_is_refused_before_the_work(store, monkeypatch):
    """As another user than root, who may write everywhere; reading it goes on."""
    (store / RECEIPTS / "1.0.0.json").unlink()
    for path in [*store.rglob("*"), store, *store.parents[:1]]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setattr(Plan, "job", lambda *_: pytest.fail("computed"))
    as_root = os.geteuid() == 0
    opened = [p for p in store.parents if not p.stat().st_mode & 0o005 and p != p.parent]
    for path in opened if as_root else []:
        path.chmod(path.stat().st_mode | 0o005)
    if as_root:
        os.seteuid(65534)
    try:
        with pytest.raises(OSError, match=r"store|written") as caught:
            lg.sweep(CHUNKED, out=store, workers=0)
        assert caught.value.errno == errno.EACCES
        assert str(store) in str(caught.value)
    finally:
        if as_root:
            os.seteuid(0)
        for path in [store.parent, store, *store.rglob("*")]:
            path.chmod(0o755)


def test_two_sweeps_into_one_store_at_once(store):
    with (
        open_store(store, define(CHUNKED, ".")),
        pytest.raises(ValueError, match=r"store '.*' is being written by another process; wait for it"),
    ):
        lg.sweep(CHUNKED, out=store, workers=0)
    lg.sweep(CHUNKED, out=store, workers=0)


OTHERS = {
    "a value": (changed(CHUNKED, run__duration=100.0), "run.duration is 200.0 in the store, 100.0 in the file"),
    "a seed": (changed(CHUNKED, random_seed=5), "random_seed is 0 in the store, 5 in the file"),
    "a distribution": (changed(CHUNKED, run__w={"uniform": [-0.5, 0.5]}), "run.w is uniform [-0.9, 0.9]"),
    "pairs": (changed(CHUNKED, draws__a=["seed", "rule"]), "draws.a is ['seed'] in the store"),
    "what is kept": (changed(CHUNKED, record=["outcome"]), "record is"),
    "an axis": (changed(CHUNKED, axes__scale=None), "axes is"),
    "fewer seeds": (changed(CHUNKED, axes__seed=3), "the store has 12 repetitions, the file 3"),
    "fewer values": (changed(CHUNKED, axes__scale=[0.3]), "scale: the store has 1.0"),
    "a setting": (changed(CHUNKED, axes__rule=["bptt"]), "axis rule: the store has"),
}  # fmt: skip


@pytest.mark.parametrize("change", OTHERS)
def test_a_store_of_another_sweep_is_refused_with_what_differs(change, whole):
    document, words = OTHERS[change]
    before = data_files(whole)
    with pytest.raises(ValueError, match="holds another sweep") as caught:
        lg.sweep(document, out=whole, workers=0)
    assert words in str(caught.value)
    assert data_files(whole) == before


def test_what_may_change_in_a_file(store, monkeypatch):
    """Its title, and the size of chunks, which a store keeps."""
    monkeypatch.setattr(Plan, "job", lambda *_: pytest.fail("computed"))
    lg.sweep(changed(CHUNKED, title="another", chunk=2), out=store, workers=0)


@pytest.mark.parametrize(
    "content", [None, b"{}", b"[1]", b"\xff", b'{"attributes": {"localgrad_sweep": {"format": 9}}}']
)
def test_what_is_no_store_is_refused(content, tmp_path):
    out = tmp_path / "runs.zarr"
    out.mkdir()
    if content is not None:
        (out / "zarr.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"is no store of a sweep|has format 9"):
        lg.sweep(CHUNKED, out=out, workers=0)
    assert [path.name for path in out.iterdir()] == ([] if content is None else ["zarr.json"])


def test_places_that_cannot_hold_a_store(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="no store of a sweep"):
        lg.sweep(CHUNKED, out=tmp_path / "file", workers=0)
    with pytest.raises(ValueError, match="in a folder that does not exist"):
        lg.sweep(CHUNKED, out=tmp_path / "none" / "runs.zarr", workers=0)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_store_begun_with_other_versions_says_so(store, monkeypatch):
    root = json.loads((store / "zarr.json").read_bytes())
    root["attributes"]["provenance"]["versions"]["jax"] = "0.1"
    (store / "zarr.json").write_text(json.dumps(root))
    resumed(store, 0, monkeypatch, words="jax 0.1 and ")


def test_damage_while_an_axis_grows_costs_that_chunk_only(whole, tmp_path, monkeypatch):
    """A chunk that is there in part, and damaged, is computed whole."""
    out = tmp_path / "runs.zarr"
    lg.sweep(changed(CHUNKED, axes__seed=5), out=out, workers=0)
    (out / "time/c/0/0/0").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="its file of time is not what was written"):
        grown = lg.sweep(CHUNKED, out=out, workers=0)
    straight = lg.sweep(CHUNKED, out=whole, workers=0)
    for name in straight.data_vars:
        np.testing.assert_array_equal(grown[name], straight[name])
