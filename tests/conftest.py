"""Every test runs in float64, and Hypothesis draws the same examples each time."""

import os

# Tests compile longer than they compute. `XLA_FLAGS= make test` has users' level of optimisation, and twice the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import hypothesis
import jax

jax.config.update("jax_enable_x64", True)

hypothesis.settings.register_profile("deterministic", derandomize=True, deadline=None)
hypothesis.settings.load_profile("deterministic")


def pytest_make_parametrize_id(val):
    """Bytes by their number: a zip holds the time at which it was made, and every worker must make the same ids."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None
