"""What a disk cannot hold, refused before the work with what it would take."""

from __future__ import annotations

import shutil
from pathlib import Path

from localgrad.checks import size_in_words


def check_disk(what: str, num_bytes: float, folder: Path, remedy: str) -> None:
    """`ValueError` where `what`, a plural, takes more bytes than are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise ValueError(
            f"{what} take about {size_in_words(num_bytes)} on the disk, but {size_in_words(free)} are free; {remedy}"
        )
