r"""A learning rule is three choices, written once.

Backpropagation through time carries the output error back through lag `j` by `(J^j)ᵀ Aᵀ`, with `J`
the state Jacobian (`W` in a linear network) and `A` the readout. Every rule here carries it by

    (M^j)ᵀ Fᵀ,   0 ≤ j < lags,

and differs from the others only in

- **feedback** `F = symmetric · A + fixed + …`: what projects the output error to the hidden units,
- **propagator** `M = full · J + diagonal · diag(J) + internal · J₀ + decay · I + …`: what carries credit one step back,
- **lags**: how many steps back are kept.

The error may also arrive late, by a **delay** of whole steps.

From such an object follow the exact expected update (`updates/`), the mode equations (`modes/equations.py`) and their
symbolic form (`modes/derivation.py`): none of them knows any rule by name. The named rules are in `presets.py`; a
summand of `F` or `M` of one's own is a `Term` (`terms.py`).

The readout's own update `ΔA` never differs between rules.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from localgrad.checks import check_flag, in_words
from localgrad.rules.final import Final
from localgrad.rules.numbers import is_zero, with_coefficient
from localgrad.rules.parts import Feedback, Propagator, as_feedback, as_propagator
from localgrad.rules.terms import Term
from localgrad.rules.trials import check_fits_diagonal, check_learning, check_made

_LONGEST_DELAY = 2**16  # its steps are followed one by one


class Rule(Final, eqx.Module, final=True):
    r"""Any point of the rule space: credit travels back through lag `j` by `(M^j)ᵀ Fᵀ`.

    **Arguments:**

    - `feedback`: `"symmetric"` (`F = A`), the fixed `F` itself (a matrix of shape `"output hidden"`, with a leading
        axis `"seeds"` for one a seed; for modes a scalar or broadcasting array), a `Feedback`, a `Term`, or a sum of
        these, such as `"symmetric" + Term()`.
    - `propagator`: `"full"` (`M = J`), `"diagonal"` (`M = diag J`), `"internal"` (`M = J₀`, what a unit carries over by
        itself: the leak, in a network that has one), a decay (a number for `M = ŵ I`, a vector of shape
        `"hidden"` for one decay a unit), a `Propagator`, a `Term`, or a sum of these.
    - `lags`: how many lags are kept, a positive whole number in steps; `None` keeps all of them.
    - `through_plant`: whether credit also passes the environment of a closed loop, where the output comes back as
        input (`LinearTask.from_output`). Local rules do not know it; BPTT through it is the gradient. Elsewhere it
        changes nothing.
    - `delay`: how many steps late the error reaches the synapses, a whole number of at least 0; there it meets what is
        there then.
    - `name`: how reports call the rule. `key`: how programs do: stable, the same for the same rule.

    **Raises:** `ValueError` for an unknown word, what is no real number, `lags` below 1, or a negative `delay`;
    `TypeError` for a subclass, since consumers read a rule's parts: what is new about a rule goes into a `Term`.

    Source: the paper's rules are corners of this space; docs/theory.md, section 2.

    >>> Rule(feedback=1.0, propagator="full").describe()
    'custom: F = 1, M = J, all lags'
    """

    feedback: Feedback
    propagator: Propagator
    lags: int | None = eqx.field(static=True)
    through_plant: bool = eqx.field(static=True)
    delay: int = eqx.field(static=True)
    name: str = eqx.field(static=True)
    key: str = eqx.field(static=True)
    _is_final = True

    def __init__(
        self,
        feedback: Any = "symmetric",
        propagator: Any = "full",
        lags: int | None = None,
        *,
        through_plant: bool = False,
        delay: int = 0,
        name: str = "custom",
        key: str = "custom",
    ):
        self.feedback = as_feedback(feedback)
        self.propagator = as_propagator(propagator)
        self.lags = _check_lags(lags)
        check_flag("through_plant", through_plant)
        for what, word in (("name", name), ("key", key)):
            if not isinstance(word, str):
                raise ValueError(f"the rule's {what} must be a word, got {in_words(word)}")
        self.through_plant, self.delay = through_plant, _check_delay(delay)
        self.name, self.key = name, key

    def describe(self) -> str:
        """One line: name, feedback, propagator and lags."""
        F, M = self.feedback, self.propagator
        feedback = _written((F.symmetric, "A"), (F.fixed, "R" if np.ndim(F.fixed) else ""), terms=F.terms, matrix="A")
        identity = "diag γ" if np.ndim(M.decay) else "I"
        parts = (M.full, "J"), (M.diagonal, "diag J"), (M.internal, "J₀"), (M.decay, identity)
        propagator = _written(*parts, terms=M.terms, matrix="J")
        lags = "all lags" if self.lags is None else f"{self.lags} lag{'s' * (self.lags > 1)}"
        through = ", through the plant" if self.through_plant else ""
        late = f", errors {in_steps(self.delay)} late" if self.delay else ""
        return f"{self.name}: F = {feedback}, M = {propagator}, {lags}{through}{late}"

    def with_feedback(self, feedback: Any) -> Rule:
        """The same rule with another feedback, given as to `Rule`."""
        return self._with(feedback=feedback)

    def with_internal(self, internal: Any) -> Rule:
        """The same rule on a model whose units carry over a constant `internal` by themselves (`Propagator`)."""
        return self._with(propagator=self.propagator.with_internal(internal))

    def with_delay(self, delay: int) -> Rule:
        """The same rule whose errors arrive so many steps late.

        >>> Rule("symmetric", 0.5).with_delay(2).describe()
        'custom: F = A, M = 0.5·I, all lags, errors 2 steps late'
        """
        return self._with(delay=delay)

    def _with(self, **changed: Any) -> Rule:
        return Rule(**{name: getattr(self, name) for name in _FIELDS} | changed)

    # --- what may be asked of it ---

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of one's own, of the feedback and of the propagator."""
        return (*self.feedback.terms, *self.propagator.terms)

    @property
    def affine(self) -> tuple[Any, Any, Any, Any] | None:
        """`(φ₀, φ₁, μ₀, μ₁)` where a mode's feedback is `φ₀ + φ₁ a` and its propagator `μ₀ + μ₁ w`, else `None`."""
        feedback, propagator = self.feedback.affine, self.propagator.affine
        return None if feedback is None or propagator is None else (*feedback, *propagator)

    def require_affine(self, who: str) -> tuple[Any, Any, Any, Any]:
        """`affine`; `ValueError` that names `who` cannot do without it, and the term in the way."""
        found = self.affine
        if found is None:
            term = next(type(t).__name__ for t in self.terms if t.affine is None or t.learns)
            raise ValueError(
                f"{who} takes rules whose feedback is φ₀ + φ₁ a and propagator μ₀ + μ₁ w on a mode, which the term "
                f"{term} is not; follow single modes with learn_mode, or networks with learn"
            )
        return found

    @property
    def learns(self) -> bool:
        """Whether the feedback has dynamics of its own."""
        return any(term.learns for term in self.feedback.terms)

    def check_fits(self, output: int, hidden: int, *, diagonal: bool = False) -> None:
        """`ValueError` where the rule does not fit networks of so many outputs and hidden units.

        `diagonal`: whether they are diagonal layers of complex units (`models/diagonal.py`).
        """
        fixed, decay = self.feedback.fixed, self.propagator.decay
        if fixed is not None and np.shape(fixed) != (output, hidden):
            raise ValueError(
                f"feedback has shape {np.shape(fixed)}, but must have that of A, {(output, hidden)} (output × hidden)"
            )
        if decay is not None and (np.ndim(decay) > 1 or np.size(decay) not in (1, hidden)):
            raise ValueError(
                f"decay has shape {np.shape(decay)}, but the student {hidden} hidden units; "
                "give one number, or one for each unit"
            )
        Feedback.check_numbers(self.feedback)  # not as bound methods, which equinox makes slowly
        Propagator.check_numbers(self.propagator)
        # What terms make only a trial can tell; a sum would broadcast what does not fit, so each is tried alone.
        square, columns = (hidden, hidden), [(hidden, 1), (1, 1)]
        if diagonal:
            check_fits_diagonal(self, output, hidden)
            return
        for term in self.feedback.terms:
            check_made(term, "readout A", (output, hidden), [(output, hidden)])
            check_learning(term, (output, hidden))
        for term in self.propagator.terms:
            check_made(term, "Jacobian J", square, columns if term.is_elementwise else [square])

    # --- what of it is a seed's own ---

    @property
    def num_seeds(self) -> int | None:
        """The length of the axis `"seeds"` of its arrays; `None` where it has none.

        **Raises:** `ValueError` where arrays disagree.
        """
        lengths = {np.shape(x)[0] for x in jax.tree.leaves(self) if _has_seeds(x)}
        if len(lengths) > 1:
            raise ValueError(f"the rule's arrays hold {sorted(lengths)} seeds; give all of them the same number")
        return next(iter(lengths), None)

    def of_seed(self, seed: Any) -> Rule:
        """The rule of one seed, or of an array of them; itself where all share it."""
        return jax.tree.map(lambda x: x[seed] if _has_seeds(x) else x, self)

    def seed_axes(self) -> Rule:
        """Where `jax.vmap` finds the seeds: 0 or `None` for each number."""
        return jax.tree.map(lambda x: 0 if _has_seeds(x) else None, self)

    # --- what of it learns ---

    @property
    def state(self) -> tuple[Any, ...]:
        """The states of the terms that learn, in order; `()` where none does."""
        return tuple(term.state for term in self.feedback.terms if term.learns)  # type: ignore[attr-defined]

    def at(self, state: tuple[Any, ...]) -> Rule:
        """The rule with these states."""
        return eqx.tree_at(lambda rule: rule.state, self, tuple(state)) if self.state else self

    def state_update(self, readout: Any, readout_update: Any) -> tuple[Any, ...]:
        """`Δstate` of each term that learns, for a readout `A` and its update `ΔA`."""
        return tuple(term.update(readout, readout_update) for term in self.feedback.terms if term.learns)


_FIELDS = ("feedback", "propagator", "lags", "through_plant", "delay", "name", "key")


def in_steps(delay: int) -> str:
    """A number of steps in words: `1 step`, `2 steps`."""
    return f"{delay} step{'s' * (delay != 1)}"


def _has_seeds(value: Any) -> bool:
    return np.ndim(value) == 3


def _check_lags(lags: Any) -> int | None:
    if lags is None:
        return None
    if isinstance(lags, bool) or not isinstance(lags, int | np.integer) or lags < 1:
        raise ValueError(f"lags must be a whole number of at least 1, or None for all lags; got {in_words(lags)}")
    if lags >= 2**31:
        raise ValueError(f"lags = {lags} is more than 2³¹ steps; leave lags out to keep all of them")
    return int(lags)


def _check_delay(delay: Any) -> int:
    if isinstance(delay, bool) or not isinstance(delay, int | np.integer) or not 0 <= delay <= _LONGEST_DELAY:
        raise ValueError(
            f"delay must be a whole number of steps from 0 to {_LONGEST_DELAY}, got {in_words(delay)}; an error cannot "
            "arrive before its time, nor between two steps"
        )
    return int(delay)


def _written(*parts: tuple[Any, str], terms: tuple[Term, ...], matrix: str) -> str:
    """`2·A + R + sign A`: each part present, those that are 0 throughout left out."""
    words = [with_coefficient(x, symbol) for x, symbol in parts if x is not None and not is_zero(x)]
    return " + ".join([*words, *(term.describe(matrix) for term in terms)]) or "0"
