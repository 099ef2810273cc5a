"""Whether what a rule's terms make fits a network: they are tried on shapes alone, and nothing is computed."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from localgrad.rules.terms import Term


def check_fits_diagonal(rule: Any, output: int, hidden: int) -> None:
    """`ValueError` where a rule does not fit diagonal layers of so many outputs and complex units."""
    if rule.learns:
        raise ValueError("a feedback that learns is real, and a diagonal layer's readout complex; give a fixed one")
    for term in rule.propagator.terms:
        if not term.is_elementwise:
            raise ValueError(
                f"the term {type(term).__name__} makes a dense propagator, which a diagonal layer has no closed form "
                "for; give a term with is_elementwise = True, or take lg.real_blocks of the layer"
            )
    for term in rule.feedback.terms:
        check_made(term, "readout C", (output, hidden), [(output, hidden)], number=complex)
    entries = jax.ShapeDtypeStruct((hidden,), jax.numpy.result_type(complex))
    jax.eval_shape(rule.propagator.on_diagonal, entries)


def check_made(
    term: Term, matrix: str, given: tuple[int, int], wanted: list[tuple[int, int]], number: type = float
) -> None:
    """`ValueError` where what a term makes of a matrix is not of the wanted shape, or not numbers of its kind."""
    kind, dtype = type(term).__name__, jax.numpy.result_type(number)
    found = _tried(lambda term, X: term(X), term, given, 1, number)
    if np.shape(found) not in wanted:
        raise ValueError(
            f"the term {kind} makes of a {matrix} of shape {given} one of shape {np.shape(found)}; "
            f"it must be of shape {wanted[0]}"
        )
    if found.dtype != dtype:
        if dtype.kind == "f" and found.dtype.kind == "c":
            raise ValueError(
                f"the term {kind} makes {found.dtype} numbers, which a network of real units cannot hear; give real "
                "numbers"
            )
        raise ValueError(
            f"the term {kind} makes {found.dtype} numbers of {dtype} ones; let it keep the precision of the matrix "
            "it is given"
        )


def check_learning(term: Term, given: tuple[int, int]) -> None:
    """`ValueError` where the state of a term that learns, and its update, are not of the readout's shape."""
    if not term.learns:
        return
    kind, update = type(term).__name__, _tried(lambda term, A, dA: term.update(A, dA), term, given, 2)
    for what, value in (("state", term.state), ("update of the state", update)):  # type: ignore[attr-defined]
        if np.shape(value) != given:
            raise ValueError(
                f"the {what} of the term {kind} has shape {np.shape(value)}; it must be that of A, {given}"
            )


def _tried(function: Any, term: Term, given: tuple[int, int], count: int, number: Any = float) -> Any:
    """What a function of a term, its numbers in JAX's precision, and of matrices would return; nothing is computed."""
    number, own_number = jax.numpy.result_type(number), jax.numpy.result_type(float)

    def shape_of(x: Any) -> Any:
        return x if isinstance(x, int) else jax.ShapeDtypeStruct(np.shape(x), own_number)

    own, structure = jax.tree.flatten(jax.tree.map(shape_of, term))
    numbers = [x for x in own if not isinstance(x, int)]

    def call(numbers: list[Any], *matrices: Any) -> Any:
        left = iter(numbers)
        return function(
            jax.tree.unflatten(structure, [x if isinstance(x, int) else next(left) for x in own]), *matrices
        )

    try:
        return jax.eval_shape(call, numbers, *[jax.ShapeDtypeStruct(given, number)] * count)
    except (TypeError, jax.errors.JAXTypeError) as error:
        reason, kind = str(error).split("\n")[0], type(term).__name__
        if any(getattr(x, "dtype", np.dtype(float)).kind in "iub" for x in jax.tree.leaves(term)):
            reason = (
                "its array of whole numbers became one of floating-point numbers, as all that a term learns by; "
                "whole numbers that choose or count are a tuple in a field marked equinox.field(static=True)"
            )
        raise ValueError(f"the term {kind} does not fit a network with a matrix of shape {given}: {reason}") from None
