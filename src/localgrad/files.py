"""Files that are written whole or not at all, and tried before the work that is to fill them.

A result that cannot be stored must be known before hours of computing, and a failed write must not cost an earlier
result. So every command tries its targets first (`check_target`), and every file of the package is written beside its
place, under a name that no other writer has, flushed to the disk and moved there in one step (`write_atomically`;
`build_folder` for a folder). A process that is killed at any moment leaves the old file or the new one, never a part.

Limits: a process that is killed while it writes leaves a hidden file `.NAME….partial`, which blocks nothing and may be
deleted. A trial cannot know that the disk will be full later; then the error names the file.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

fcntl: Any
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

Place = str | os.PathLike[str]
"""Where a file is."""

FIGURE_SUFFIXES = (".png", ".svg")
"""Endings of the names of figures, which say how a figure is written."""


def check_target(path: Place, option: str, suffixes: Sequence[str] = ()) -> None:
    """Try whether a file can be written at `path`: make a file beside it, and remove it again.

    **Arguments:** `path`; `option`: what the user calls it, such as `--out` or `checkpoint`, for the message;
    `suffixes`: endings of which the name must have one, in lower case.

    **Raises:** `ValueError` for another ending, a folder or a device in its place, and a folder that does not exist;
    `OSError` that names the file where the system forbids to write it.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{option} {str(path)!r} must end in {' or '.join(suffixes)}; give such a name")
    with name_errors(path, f"{option} cannot be written here"):
        found = _status(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise ValueError(f"{option} {str(path)!r} is a folder; give the name of a file")
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{option} {str(path)!r} is not an ordinary file; give another name")
        _check_parent(path, option)
        if found is not None and not os.access(path, os.W_OK):
            raise PermissionError(13, "the file is protected against writing")
        part = _part_of(path)
        try:
            part.open("xb").close()
        finally:
            part.unlink(missing_ok=True)


def check_new_folder(path: Place, option: str) -> None:
    """Try whether a new folder can be made at `path`; raises as `check_target`, and where anything is there."""
    path = Path(path)
    with name_errors(path, f"{option} cannot be written here"):
        if _status(path) is not None:
            raise ValueError(f"{option} {str(path)!r} exists already; remove it or name another")
        _check_parent(path, option)
        part = _part_of(path)
        part.mkdir()
        part.rmdir()


def check_disk(what: str, num_bytes: float, folder: Path, remedy: str) -> None:
    """`ValueError` where `what`, a plural, takes more bytes than are free on the disk of `folder`."""
    from localgrad.checks import size_in_words  # which imports JAX

    free = shutil.disk_usage(folder).free if folder.is_dir() else num_bytes
    if num_bytes > free:
        raise ValueError(
            f"{what} take about {size_in_words(num_bytes)} on the disk, but {size_in_words(free)} are free; {remedy}"
        )


def check_different(targets: Mapping[str, Place | None], inputs: Mapping[str, Place | None] = {}) -> None:
    """`ValueError` where two targets are one file, or a target is an input; keys are the options' names."""
    known: dict[str, Path] = {name: Path(path) for name, path in inputs.items() if path is not None}
    for option, path in targets.items():
        if path is None:
            continue
        for other, place in known.items():
            if _same(Path(path), place):
                raise ValueError(f"{option} {str(path)!r} would overwrite the file of {other}; give another name")
        known[option] = Path(path)


@contextmanager
def write_atomically(path: Place) -> Iterator[BinaryIO]:
    """A binary stream whose bytes replace the file at `path` when the block ends well, and only then.

    Where it does not, nothing new is left, and an earlier file stays as it was. A link is followed; the permissions of
    an earlier file are kept.

    **Raises:** `OSError` that names `path`, for a full disk too.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "greeting.txt"
    >>> with write_atomically(place) as stream:
    ...     _ = stream.write(b"hello")
    >>> place.read_text(), [file.name for file in place.parent.iterdir()]
    ('hello', ['greeting.txt'])
    """
    path = Path(path)
    place = Path(os.path.realpath(path))
    part = _part_of(place)
    with name_errors(path, "could not be written", part):
        try:
            with part.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            with suppress(FileNotFoundError):
                shutil.copymode(place, part)
            os.replace(part, place)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


@contextmanager
def build_folder(path: Place) -> Iterator[Path]:
    """A new folder under a name of its own that becomes the folder `path` when the block ends well.

    Where it does not, nothing is left. **Raises:** `ValueError` where something is at `path`, before or after the
    block; `OSError` that names `path`.
    """
    path = Path(path)
    check_new_folder(path, "folder")
    part = _part_of(path)
    with name_errors(path, "could not be written", part):
        try:
            part.mkdir()
            yield part
            if _status(path) is not None:
                raise ValueError(f"folder {str(path)!r} has been made by another process meanwhile; give another name")
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def only_writer(path: Place, what: str) -> Iterator[None]:
    """Keep other processes away from the file at `path` while the block runs: a lock file `.NAME.lock` beside it.

    **Raises:** `ValueError`, naming `what` and `path`, where another process is in such a block. The lock ends with its
    process, however that ends. Limits: where no file can be made, or the file system knows no locks, all are let in.
    """
    path = Path(os.path.realpath(path))
    lock = path.with_name(f".{path.name[:200]}.lock")
    try:
        stream = _locked(lock)
    except OSError:  # no file can be made here, so no other process writes either; what is there may still be read
        stream = BytesIO()
    if stream is None:
        raise ValueError(f"{what} {str(path)!r} is being written by another process; wait for it, or give another name")
    with stream:
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink(missing_ok=True)


def _locked(lock: Path) -> BinaryIO | None:
    """The lock file, opened and locked; `None` where another process has locked it."""
    while True:
        stream = lock.open("ab")
        if not _lock(stream):
            stream.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), os.stat(lock)):
                return stream
        stream.close()  # the one before us removed it after we had opened it


def _lock(stream: BinaryIO) -> bool:
    """Lock an open file, without waiting; false where another process has done so."""
    try:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextmanager
def name_errors(path: Path, what: str, part: Path | None = None) -> Iterator[None]:
    """Give errors of the system the name `path` that the user knows, and say `what` failed.

    Errors that name a file pass unchanged, unless it is `part`, under which `path` is written, or inside it.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and part is not None and not str(error.filename).startswith(str(part)):
            raise
        raise type(error)(
            error.errno, f"{what} ({error.strerror or error}); choose another place", str(path)
        ) from error


def _part_of(path: Path) -> Path:
    """A name of this writer alone, beside `path`: hidden, and short enough where that of `path` is at the limit."""
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.partial")


def _status(path: Path) -> os.stat_result | None:
    """What is at `path`, links followed; `None` for nothing."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _check_parent(path: Path, option: str) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"{option} {str(path)!r} is in a folder that does not exist; make it, or name another")


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))
