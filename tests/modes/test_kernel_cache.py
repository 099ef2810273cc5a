"""Compiled kernels on disk: found again, compiled anew where damaged, done without where there is no place."""

import os
import subprocess
import sys
import warnings

import numba
import pytest
from numba import njit
from numba.core import caching

import localgrad as lg
from localgrad.modes.ensemble.cache import keep_on_disk


def twice(x):
    return 2 * x


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def compiled():
    """As a new process would have it; returns the function and whether its code came from disk."""
    function = keep_on_disk(njit(twice))
    assert function(3) == 6
    return sum(function.stats.cache_hits.values()) > 0


def test_a_second_process_finds_the_code(folder):
    assert [compiled(), compiled()] == [False, True]
    assert {path.suffix for path in folder.rglob("*twice*")} == {".nbi", ".nbc"}


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [lambda x: x[: len(x) // 2], lambda x: b"", lambda x: x[:-40] + bytes(40)])
def test_damaged_files_are_compiled_anew(folder, suffix, damage):
    compiled()
    for path in folder.rglob(f"*{suffix}"):
        path.write_bytes(damage(path.read_bytes()))
    assert [compiled(), compiled()] == [False, True]


def test_code_that_was_changed_is_not_run(folder):
    """A single bit, anywhere in the machine code, is seen."""
    compiled()
    (path,) = folder.rglob("*.nbc")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not compiled()


def test_without_a_place_there_is_no_cache_but_a_word(monkeypatch):
    class Nowhere:
        @classmethod
        def from_function(cls, function, path):
            return None

    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [Nowhere])
    with pytest.warns(RuntimeWarning, match="have no place on disk.* NUMBA_CACHE_DIR"):
        assert not compiled()


def test_a_disk_that_is_full_costs_the_cache_only(folder, monkeypatch):
    def full(self, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_data", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert not compiled()


def test_where_nothing_is_compiled_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert keep_on_disk(twice)(3) == 6


@pytest.mark.slow
def test_kernels_run_without_being_compiled():
    """With `NUMBA_DISABLE_JIT` the kernels are plain Python: slow, and the same."""
    code = (
        "import localgrad as lg; M = lg.Mode;"
        "run = lg.integrate_modes(lg.RFLO(-1.0, 0.5), M(1.0, 1.0, 0.6), M(1.0, 1.0, 0.8), duration=9.0, save_at=[1.0]);"
        "print(lg.Outcome.words(run.outcome), run.branch, round(float(run.path_length), 3), run.saved.a[0])"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    words = found.stdout.split()
    assert words[:3] == ["converged", "-1", "4.707"]
    path = lg.learn_mode(lg.RFLO(-1.0, 0.5), lg.Mode(1.0, 1.0, 0.6), lg.Mode(1.0, 1.0, 0.8), duration=9.0)
    assert float(words[3]) == pytest.approx(path.at([1.0]).modes.a[0], abs=1e-3)
    assert not found.stderr
