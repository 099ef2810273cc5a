r"""How the states of a network move: the spectral radius of its Jacobian at rest, and its largest Lyapunov exponent.

    ρ = max |eig ∂s_{t+1}/∂s_t| at s = 0, x = 0,   λ = lim (1/t) log ‖∂s_t/∂s_0 · v‖ along the inputs of the task

in units of a step; `λ = log ρ` in a linear network. The inputs of a few sequences are repeated for a thousand steps and
more, of which the second half counts.

Limits: with spikes both are of the surrogate's derivatives.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from localgrad.cells.running import at_rest, network_step
from localgrad.learning.networks.situation import Finished, Measure, Situation

_STEPS, _SEQUENCES = 1000, 4


def _states_after(seen: Situation, states: Any, x: Array) -> Any:
    return tuple(step.after for step in network_step(seen.network, states, x)[0])


def _jacobian_at_rest(seen: Situation) -> dict[str, Array]:
    dtype = seen.data.inputs.dtype
    rest, back = ravel_pytree(at_rest(seen.network, 1, dtype))
    silence = jnp.zeros((1, seen.data.inputs.shape[-1]), dtype)
    return {"jacobian": jax.jacfwd(lambda s: ravel_pytree(_states_after(seen, back(s), silence))[0])(rest)}


def _radius(found: Finished) -> dict[str, np.ndarray]:
    return {"radius": np.abs(np.linalg.eigvals(found.raw["jacobian"])).max(-1)}


def _lyapunov(seen: Situation) -> dict[str, Array]:
    inputs = seen.data.inputs[:, :_SEQUENCES]
    steps, batch, _ = inputs.shape
    tiny = jnp.finfo(inputs.dtype).tiny
    start = at_rest(seen.network, batch, inputs.dtype)
    keys = jax.random.split(seen.key, len(start))
    tangent = tuple(jax.random.normal(key, s.shape, s.dtype) for key, s in zip(keys, start, strict=True))

    def step(carry: Any, x: Array) -> Any:
        states, tangent = jax.jvp(lambda s: _states_after(seen, s, x), (carry[0],), (carry[1],))
        size = jnp.sqrt(sum(jnp.sum(t**2, axis=(1, 2)) for t in tangent))
        size = jnp.maximum(size, tiny)
        return (states, tuple(t / size[:, None, None] for t in tangent)), jnp.log(size)

    def once_more(carry: Any, _: Any) -> Any:
        return jax.lax.scan(step, carry, inputs)

    rounds = -(-_STEPS // steps) + 1
    growth = jax.lax.scan(once_more, (start, tangent), None, length=rounds)[1].reshape(-1, batch)
    return {"lyapunov": growth[len(growth) // 2 :].mean()}


DYNAMICS = {"radius": Measure(_jacobian_at_rest, _radius), "lyapunov": Measure(_lyapunov)}
