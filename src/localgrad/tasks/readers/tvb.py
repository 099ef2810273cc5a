"""Connectivity of The Virtual Brain: a `.zip` with `weights.txt`, in whatever folder, plain or as `.bz2`.

`W[i, j]` is the weight from region `j` to region `i`, as there.
"""

from __future__ import annotations

import bz2
import zipfile

from localgrad.tasks.readers.weights import Weights
from localgrad.tasks.text_matrix import matrix_from_text
from localgrad.tasks.weight_files import MAX_BYTES, open_archive, read_member


def read_tvb(data: bytes) -> Weights:
    """The weights of a connectivity."""
    return Weights(matrix_from_text(text_member(open_archive(data), "weights.txt")))


def region_names(data: bytes) -> tuple[str, ...]:
    """The labels of the regions, from `centres.txt`."""
    text = text_member(open_archive(data), "centres.txt").decode("utf-8", "replace")
    return tuple(line.split()[0] for line in text.splitlines() if line.strip())


def text_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A text of the archive."""
    names = archive.namelist()
    found = [member for member in names if member.rsplit("/", 1)[-1] in (name, f"{name}.bz2")]
    if len(found) != 1:
        shown = [member[:30] for member in names[:6]]
        raise ValueError(
            f"it has {len(found)} files {name} (found {shown}); give a connectivity of TVB, with one of them"
        )
    packed = read_member(archive, found[0])
    if not found[0].endswith(".bz2"):
        return packed
    unpacker = bz2.BZ2Decompressor()
    try:
        plain = unpacker.decompress(packed, MAX_BYTES + 1)
    except (OSError, ValueError):
        raise ValueError(f"{found[0][:40]!r} is damaged; write the file again") from None
    if len(plain) > MAX_BYTES or not unpacker.eof:
        raise ValueError(f"{found[0][:40]!r} unpacks to more than {MAX_BYTES:,} bytes, or is cut off; write it again")
    return plain
