"""Checkpoints: named arrays in a plain `.npz`, replaced atomically, and believed only where their bytes bear it out.

A checkpoint holds a format version, the *settings* that define a run and the *progress* it has made, all as arrays, and
a digest of them together. It is written atomically (`files.py`): a process killed at any moment leaves the old
checkpoint or the new one, never a part. A run continues only from a checkpoint of the same settings. Reading never
unpickles (`weight_files.py`), and no defect touches the file: every one is a `ValueError` with its name and the remedy.

Limit: `weight_files.MAX_BYTES`. A run that would outgrow it is refused before it starts.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from localgrad.files import check_disk, write_atomically
from localgrad.tasks.weight_files import MAX_BYTES, array_from_npy, open_archive, read_bytes, read_member

VERSION = 2
_OTHERWISE = "give another file to start anew, or delete this one"

Arrays = Mapping[str, np.ndarray]


def write_checkpoint(path: Path, settings: Arrays, progress: Arrays) -> None:
    """Replace the checkpoint at `path`, all at once or not at all."""
    arrays = {"version": np.array(VERSION)}
    arrays |= {f"settings/{name}": value for name, value in settings.items()}
    arrays |= {f"progress/{name}": value for name, value in progress.items()}
    arrays["digest"] = np.array(_digest(arrays))
    with write_atomically(path) as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def check_room(path: Path, num_bytes: int) -> None:
    """`ValueError` where a checkpoint with this many bytes of arrays could not be read again, or finds no room."""
    if num_bytes > 0.99 * MAX_BYTES:  # the rest is for headers
        raise ValueError(
            f"checkpoint {str(path)!r} would grow to {num_bytes:,} bytes, above the limit of {MAX_BYTES:,}; "
            "take fewer seeds, steps or snapshots, or run without a checkpoint"
        )
    more = num_bytes - (path.stat().st_size if path.is_file() else 0)
    remedy = "choose another place, or take fewer seeds, steps or snapshots"
    check_disk(f"the arrays of checkpoint {str(path)!r}", more, path.absolute().parent, remedy)


def restore_checkpoint(path: Path, settings: Arrays, restore: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Hand the progress in a checkpoint of a run with these settings to `restore`.

    **Raises:** `ValueError` naming the file, what is wrong and the remedy: for a file that is damaged, of another
    version, of other settings, or that `restore` refuses.
    """
    try:
        arrays = read_arrays(path)
        _check_version(arrays)
        _check_digest(arrays)
        _check_settings(_part(arrays, "settings/"), settings)
        restore(_part(arrays, "progress/"))
    except ValueError as error:
        raise ValueError(f"checkpoint {str(path)!r}: {error}") from None


def _part(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name; `ValueError` where it is damaged, too large or no archive of arrays."""
    try:
        return _unpack(read_bytes(path))
    except ValueError as error:  # its remedy is that of a weight file
        raise ValueError(f"{str(error).partition(';')[0]}; {_OTHERWISE}") from None


def _unpack(data: bytes) -> dict[str, np.ndarray]:
    archive = open_archive(data)
    if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
        raise ValueError(f"its arrays claim more than {MAX_BYTES:,} bytes, so it is no checkpoint")
    members = [(name.removesuffix(".npy"), name) for name in archive.namelist()]
    return {name: array_from_npy(read_member(archive, member), name[:40]) for name, member in members}


def _digest(arrays: Arrays) -> str:
    """A digest of all arrays but itself: members that were exchanged one by one, each with its own sum, do not pass."""
    found = hashlib.sha256()
    for name in sorted(set(arrays) - {"digest"}):
        value = np.ascontiguousarray(arrays[name])
        found.update(f"{name}|{value.dtype.str}|{value.shape}|".encode() + value.tobytes())
    return found.hexdigest()


def _check_digest(arrays: Arrays) -> None:
    digest = arrays.get("digest")
    if digest is None or digest.shape != () or str(digest) != _digest(arrays):
        raise ValueError(f"its arrays do not belong together, so it is damaged or was changed; {_OTHERWISE}")


def _check_version(arrays: Arrays) -> None:
    version = arrays.get("version")
    if version is None or version.shape != () or version.dtype.kind not in "iu":
        raise ValueError(f"it is not a checkpoint of localgrad; {_OTHERWISE}")
    if version != VERSION:
        raise ValueError(f"it has format version {version}, but this localgrad reads version {VERSION}; {_OTHERWISE}")


def _check_settings(found: Arrays, wanted: Arrays) -> None:
    different = [name for name in wanted if not _same(found.get(name), wanted[name])]
    different += [name[:40] for name in found if name not in wanted]
    if different:
        name = different[0]
        values = f" ({_shown(found.get(name))}, here {_shown(wanted.get(name))})"
        raise ValueError(
            f"it is of a run with other settings: {', '.join(different)}{values}; "
            f"repeat that run's settings, or {_OTHERWISE}"
        )


def _same(one: np.ndarray | None, other: np.ndarray) -> bool:
    """Whether two settings are equal, precision and all: a run in another precision is another run."""
    return (
        one is not None
        and one.dtype.kind == other.dtype.kind
        and np.array_equal(one, other)
        and (one.dtype.kind != "f" or one.dtype == other.dtype)
    )


def _shown(value: np.ndarray | None) -> str:
    if value is None:
        return "absent"
    return str(value)[:40] if value.shape == () else f"an array of shape {str(value.shape)[:40]}"
