"""Every test runs in float64, and Hypothesis draws the same examples each time."""

from pathlib import Path

import hypothesis
import jax
import pytest

from localgrad.cli.process import compile_quickly

# Tests compile longer than they compute. `XLA_FLAGS= make test` has users' level of optimisation, and takes far longer.
compile_quickly(0)
jax.config.update("jax_enable_x64", True)

hypothesis.settings.register_profile("deterministic", derandomize=True, deadline=None)
hypothesis.settings.load_profile("deterministic")


def pytest_make_parametrize_id(val):
    """Bytes by their number: a zip holds the time at which it was made, and every worker must make the same ids."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


# Linux lets a process have 65,530 mappings of memory, and every compiled program takes some: beyond them the compiler
# crashes. Few files of tests share programs, so that they are thrown away between files costs little.
MOST_MAPPINGS = 20_000


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
