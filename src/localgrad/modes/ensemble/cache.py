"""Where compiled kernels are kept: on disk if any place can be written, and never trusted unread.

Numba keeps compiled code beside its source, or else in the user's own cache. Where neither can be written (containers,
service accounts), the kernels are kept in memory only, and a warning says so once. Numba reads its files back as they
are; here each carries a digest, so that one that was cut short or changed is compiled anew instead of being run.

Limit: this stands on Numba's `FunctionCache`, which is no public interface; if it changes, kernels go uncached.
"""

# mypy: ignore-errors

import hashlib
import pickle
import warnings

from numba import config
from numba.core.caching import FunctionCache, IndexDataCacheFile

_DIGEST = 32  # bytes


class _CheckedFile(IndexDataCacheFile):
    """Numba's index and data files, each data file led by the digest of the rest."""

    def _dump(self, obj):
        data = super()._dump(obj)
        return hashlib.sha256(data).digest() + data

    def _load_index(self):
        try:
            with open(self._index_path, "rb") as file:
                if pickle.load(file) != self._version:
                    return {}
                stamp, overloads = _checked(file.read())
        except Exception:  # missing, cut short or changed: an empty index, which the next save replaces
            return {}
        return overloads if stamp == self._source_stamp else {}

    def _load_data(self, name):
        with open(self._data_path(name), "rb") as file:
            return _checked(file.read())


class _CheckedCache(FunctionCache):
    def __init__(self, function):
        super().__init__(function)
        old = self._cache_file
        self._cache_file = _CheckedFile(old._cache_path, self._impl.filename_base, old._source_stamp)

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # not what Numba has written: compiled anew, and written over
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn(f"cannot be kept in {self.cache_path} ({error.strerror})")


def keep_on_disk(dispatcher):
    """Give a compiled function a cache on disk, where there is a place for one; returns the function."""
    if config.DISABLE_JIT:  # not compiled at all: Python itself
        return dispatcher
    try:
        dispatcher._cache = _CheckedCache(dispatcher.py_func)
    except (RuntimeError, OSError):  # Numba's "no locator available"
        _warn("have no place on disk")
    except (AttributeError, TypeError):  # another Numba
        _warn("cannot be cached with this version of Numba")
    return dispatcher


def _checked(data):
    if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
        raise ValueError("not what was written")
    return pickle.loads(data[_DIGEST:])


def _warn(what):
    warnings.warn(
        f"the ensemble's compiled kernels {what}, so each process compiles them anew, in about half a minute; "
        "name a folder that can be written in the environment variable NUMBA_CACHE_DIR",
        RuntimeWarning,
        stacklevel=2,
    )
