"""What is asked of the trees of arrays that flows move."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def norm(tree: Any) -> Array:
    """The Euclidean norm of all entries."""
    return jnp.sqrt(sum(jnp.sum(x * x) for x in jax.tree.leaves(tree)))
