r"""Coarse weights: a step of an optimiser that leaves every weight on a multiple of a step.

    θ ← Q(θ + d),

with `d` the step of the optimiser before it and `Q` the rounding to multiples. Rounded to the nearest multiple, a
weight stands still as soon as its steps are smaller than half of one; rounded at random in proportion to the distance,
it moves as it should in the mean.

Source: docs/cells.md.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from localgrad.checks import check_positive, in_words
from localgrad.rules.coarse_traces import rounded


def rounded_weights(step: Any, key: Any = None) -> Any:
    r"""A last member of `optax.chain` that rounds weights to multiples of `step` after each of their steps.

    **Arguments:** `step`: positive, in the units of the weights; `key`: for rounding at random, up or down in
    proportion to the distance, `jax.random.key(...)`; `None` rounds to the nearest multiple. Seeds that are trained
    together round alike.

    **Returns:** a `GradientTransformation` of optax, for `lg.train(…, optimizer=…)`.

    **Raises:** `ValueError` for a step that is not positive, and what is no key.

    See Also: `lg.CoarseTraces` for coarse traces, `lg.Coarse` for coarse feedback.

    Source: docs/cells.md.

    >>> import optax
    >>> optimizer = optax.chain(optax.sgd(0.1), rounded_weights(0.5))
    >>> weights = jnp.array([1.0])
    >>> steps, _ = optimizer.update(jnp.array([-4.0]), optimizer.init(weights), weights)
    >>> optax.apply_updates(weights, steps).tolist()  # 1.4, rounded
    [1.5]
    """
    from optax import GradientTransformation

    check_positive("the step of weights", step)
    is_key = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    if key is not None and not is_key:
        raise ValueError(f"key must be jax.random.key(...) or None, got {in_words(key)}")

    def update(steps: Any, state: Any, parameters: Any = None) -> tuple[Any, Any]:
        if parameters is None:
            raise ValueError("weights are rounded where they are; give update(steps, state, parameters)")
        leaves, structure = jax.tree.flatten(parameters)
        following, *keys = [None] * (len(leaves) + 1) if state is None else jax.random.split(state, len(leaves) + 1)
        moved = zip(leaves, jax.tree.leaves(steps), keys, strict=True)
        return jax.tree.unflatten(structure, [rounded(x + d, step, k) - x for x, d, k in moved]), following

    return GradientTransformation(lambda _: key, update)
