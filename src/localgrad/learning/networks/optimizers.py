r"""How updates become steps: plain descent, or any optimiser of optax.

    θ ← θ + d,   d = −η Δθ,   or   d, state = optimizer.update(Δθ, state, θ).

An optimiser of optax is a pair of functions, and every call of `optax.adam(1e-3)` makes new ones, for which JAX would
compile anew. So an optimiser is known by its program: those that do the same share the one that was met first.

Source: docs/theory.md, section 12; optax's interface of gradient transformations.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from localgrad.checks import check_positive, in_words

_known: dict[str, Any] = {}


class Descent(eqx.Module):
    """Plain descent, `d = −η Δθ`; no state."""

    learning_rate: Float[Array, ""]

    def init(self, parameters: Any) -> tuple[()]:
        """The state before the first step."""
        return ()

    def update(self, updates: Any, state: Any, parameters: Any) -> tuple[Any, Any]:
        """The step, and the state after it."""
        return jax.tree.map(lambda x: -self.learning_rate.astype(x.dtype) * x, updates), state


def as_optimizer(optimizer: Any, learning_rate: Any) -> Any:
    """The optimiser of two arguments, of which exactly one must be given; `ValueError` otherwise."""
    if (optimizer is None) == (learning_rate is None):
        raise ValueError("give learning_rate for plain descent, or optimizer=optax…, which has a rate of its own")
    if optimizer is None:
        check_positive("learning_rate", learning_rate)
        return Descent(jnp.asarray(learning_rate, float))
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise ValueError(f"the optimizer is {in_words(optimizer)}; give one of optax, such as optax.adam(1e-3)")
    return optimizer


def shared(optimizer: Any, parameters: Any) -> tuple[Any, str]:
    """The optimiser with this program that was met first, and the digest of the program; plain descent as it is."""
    if isinstance(optimizer, Descent):
        return optimizer, "descent"

    def one_step(parameters: Any, updates: Any) -> Any:
        state = optimizer.init(parameters)
        return state, optimizer.update(updates, state, parameters)

    try:
        digest = digest_of(one_step, parameters, parameters)
    except (TypeError, ValueError) as error:
        reason = str(error).split("\n")[0][:200]
        raise ValueError(f"the optimizer does not take the arrays of a network: {reason}") from None
    return _known.setdefault(digest, optimizer), digest


def is_key(x: Any) -> bool:
    """Whether an array holds random keys, which an optimiser that rounds has in its state."""
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def without_keys(tree: Any) -> Any:
    """The arrays of a tree with keys as the numbers that they are."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def with_keys(tree: Any, template: Any) -> Any:
    """The inverse of `without_keys`, of a tree with keys where the template has them."""

    def as_key(x: Any, like: Any) -> Any:
        return jax.random.wrap_key_data(x, impl=jax.random.key_impl(like)) if is_key(like) else x

    return jax.tree.map(as_key, tree, template)


def digest_of(function: Callable[..., Any], *arguments: Any) -> str:
    """What tells apart the programs of functions: a digest of the program as JAX writes it, constants and all."""
    program = jax.make_jaxpr(function)(*arguments)
    text = re.sub(r" at 0x[0-9a-f]+|0x[0-9a-f]{6,}", "", str(program))  # addresses are new in every process
    found = hashlib.sha256(text.encode())
    for constant in program.consts:
        value = np.asarray(without_keys(constant))
        found.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    return found.hexdigest()[:32]
