"""Seeds in groups: on a CPU one group a thread, since XLA does a batch of small products on one core.

The groups do not depend on the number of cores, and so neither do results.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.checks import in_our_arithmetic

GROUP = 5
"""Most seeds in one compiled program on a CPU."""


def in_groups(run: Callable[[Any], Any], num_seeds: int, most: int = GROUP) -> Any:
    """What `run` returns of all seeds: it is called with the numbers of some, and returns arrays of theirs.

    `most`: seeds in a group.
    """
    if num_seeds <= most or jax.default_backend() != "cpu":
        return run(slice(None))
    x64 = jnp.result_type(float) == jnp.float64  # threads do not inherit it where it is set by a context

    @in_our_arithmetic
    def run_group(group: np.ndarray) -> Any:
        with jax.enable_x64(x64):
            return jax.block_until_ready(run(group))

    groups = np.array_split(np.arange(num_seeds), -(-num_seeds // most))
    with ThreadPoolExecutor(min(len(groups), os.cpu_count() or 1)) as pool:
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *pool.map(run_group, groups))
