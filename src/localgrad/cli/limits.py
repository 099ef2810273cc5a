"""Counts that a machine cannot hold, refused before the work with what they would take."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_UNKNOWN = 64e9  # bytes, where the system does not tell


def check_memory(what: str, num_bytes: float, remedy: str) -> None:
    """`ValueError` where `what`, a plural, takes more bytes than this machine has memory."""
    try:
        available: float = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        available = _UNKNOWN
    if num_bytes > available:
        raise ValueError(f"{what} take {_size(num_bytes)} of memory, but there are {_size(available)}; {remedy}")


def check_disk(what: str, num_bytes: float, folder: Path, remedy: str) -> None:
    """`ValueError` where `what`, a plural, takes more bytes than are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise ValueError(f"{what} take about {_size(num_bytes)} on the disk, but {_size(free)} are free; {remedy}")


def _size(num_bytes: float) -> str:
    """A number of bytes to read.

    >>> _size(3_500_000), _size(1e14)
    ('3.5 MB', '100,000 GB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= scale:
            return (
                f"{num_bytes / scale:,.3g} {unit}" if num_bytes < 1000 * scale else f"{num_bytes / scale:,.0f} {unit}"
            )
    return f"{num_bytes:,.0f} bytes"
