"""Where results come from: versions of what computed them, with XLA's settings, and the command.

XLA's flags change the order of sums, and so the last bits of what networks learn; so they count as a version. Workers
have one that makes small networks more than twice as fast: it leaves the threads of a matrix product out.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("localgrad", "jax", "jaxlib", "numpy", "scipy", "numba", "diffrax", "zarr")


FLAGS = "XLA_FLAGS"
"""The variable of XLA's flags."""


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {FLAGS: " ".join(sorted(os.environ.get(FLAGS, "").split()))}


def flags_of_workers() -> str:
    """XLA's flags in a worker: the user's, and ours."""
    return " ".join(sorted({*os.environ.get(FLAGS, "").split(), "--xla_cpu_multi_thread_eigen=false"}))


def versions_of_workers() -> dict[str, str]:
    """What `versions` must be in a worker, so that its results go with those of others."""
    return versions() | {FLAGS: flags_of_workers()}


def different_versions(one: dict[str, str], other: dict[str, str]) -> str:
    """`jax 0.10.2 and 0.10.1, …` where two differ; empty where they are the same."""
    names = sorted(set(one) | set(other))
    return ", ".join(f"{n} {one.get(n, '–')} and {other.get(n, '–')}" for n in names if one.get(n) != other.get(n))


def command() -> str:
    """The command of this process, as it was typed."""
    return shlex.join(sys.argv)


def now() -> str:
    """The time, in words that sort."""
    return datetime.now(UTC).isoformat(timespec="seconds")
