r"""The real numbers by which a model learns.

    θ ← θ − η (∂model/∂θ)ᵀ Δ

where `Δ` is the update of the model's own arrays, of complex ones `∂/∂Re + i ∂/∂Im`. Most models learn by their arrays
themselves. A model that learns by other numbers, or holds some that do not learn, says so by a method
`coordinates(poles)`, which returns `Coordinates`: its numbers, what stays, and the function from both to the model.
The chain rule follows from that function. Flows, training and their files move `Coordinates`, whatever the model.

Source: docs/theory.md, section 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array

from localgrad.checks import in_words
from localgrad.models.arrays import arrays_of


class Coordinates(eqx.Module):
    """A model at the numbers by which it learns.

    - `numbers`: real arrays by name, or a model that is its own coordinates.
    - `fixed`: what does not learn.
    - `make`: from the two to the model, whatever leading axes they have; a function of a module, since it shapes the
        compiled program.
    """

    numbers: Any
    fixed: Any
    make: Callable[[Any, Any], Any] = eqx.field(static=True)

    @property
    def model(self) -> Any:
        """The model."""
        return self.make(self.numbers, self.fixed)

    @property
    def named(self) -> Mapping[str, Array]:
        """The numbers by name."""
        return self.numbers if isinstance(self.numbers, dict) else arrays_of(self.numbers)

    def at(self, numbers: Any) -> Coordinates:
        """The same kind of model at other numbers."""
        return Coordinates(numbers, self.fixed, self.make)

    def with_named(self, named: Mapping[str, Array]) -> Coordinates:
        """The same kind of model at numbers given by name."""
        structure = jax.tree.structure(self.numbers)
        names = sorted(self.named) if isinstance(self.numbers, dict) else self.named
        return self.at(jax.tree.unflatten(structure, [named[name] for name in names]))

    def pull_back(self, update: Any) -> Any:
        """The update by these numbers, from that by the model's own arrays: the chain rule."""
        _, transpose = jax.vjp(lambda numbers: _real_parts(self.make(numbers, self.fixed)), self.numbers)
        return transpose(_real_parts(update))[0]


def coordinates_of(model: Any, poles: str = "direct") -> Coordinates:
    """The coordinates of a model, or of a batch; `poles` is for layers, which have several.

    **Raises:** `ValueError` for poles that the model has no choice of, and what the parametrisation does not reach.
    """
    own = getattr(model, "coordinates", None)
    if own is not None:
        return own(poles)
    check_direct(poles)
    return Coordinates(model, None, _itself)


def check_direct(poles: Any) -> None:
    """`ValueError` where poles of a network are to be trained by other numbers than its weights."""
    if not isinstance(poles, str) or poles != "direct":
        raise ValueError(
            f"poles={in_words(poles)} is for a DiagonalSSM; the poles of a network are its W's eigenvalues; leave it "
            "out or take lg.diagonalized of the network"
        )


def _itself(model: Any, _: None) -> Any:
    return model


def _real_parts(model: Any) -> tuple[Array, ...]:
    leaves = jax.tree.leaves(model)
    return tuple(part for x in leaves for part in ((x.real, x.imag) if jax.numpy.iscomplexobj(x) else (x,)))
