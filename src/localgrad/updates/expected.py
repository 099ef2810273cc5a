r"""The exact expected update of any linear network under any rule, without sampling.

Student and teacher form one *error system* `𝐀 = [A, −A*]`, `𝐖 = diag(W, W*)`, `𝐁 = [B; B*]`, whose output is the
error. A rule enters only through its feedback `F` and propagator `M`: credit `F M^j` meets the error at lag `j`.

Two algorithms serve all sizes, chosen by measurement (docs/decisions.md): Stein equations for an infinite horizon
(`closed_form.py`), and sums lag by lag for a finite one and for large networks with few outputs (`lagwise.py`).

Limits: an infinite horizon needs `ρ(W), ρ(W*) < 1` and, with all lags kept, `ρ(M)ρ(W), ρ(M)ρ(W*) < 1`.

Source: docs/theory.md, sections 1–3.
"""

from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from localgrad.models.linear import LinearRNN, spectral_radius
from localgrad.rules.compiled import in_compiled_form, join_rule, split_rule
from localgrad.rules.rule import Rule
from localgrad.updates.doubling import closed_form_loss, closed_form_update
from localgrad.updates.lags import Lags, lags_of, loss_by_lags, update_by_lags
from localgrad.updates.stein import is_elementwise

Loss = Literal["final", "sequence"]
Method = Literal["auto", "doubling", "lags"]

# Lag-by-lag sums win over the Stein equations from this size on, for at most this share of outputs.
_LAGS_FROM_HIDDEN = 128
_LAGS_UP_TO_OUTPUTS = 1 / 32


def expected_update(
    rule: Rule,
    student: LinearRNN,
    teacher: LinearRNN,
    *,
    horizon: int | None = None,
    loss: Loss = "final",
    method: Method = "auto",
) -> LinearRNN:
    r"""The exact expected update `(ΔA, ΔW, ΔB)` of a rule; a learning step is `θ ← θ − η Δθ`.

    **Arguments:**

    - `rule`: feedback of shape `"output hidden"`.
    - `student`, `teacher`: `LinearRNN`s with the same input and output sizes; hidden sizes may differ.
    - `horizon`: number of steps `T ≥ 1`, or `None` for the limit `T → ∞`.
    - `loss`: `"final"` for `½E‖ε_T‖²`, `"sequence"` for its mean over `t = 1 … T`. They agree for `T → ∞`.
    - `method`: `"doubling"` (Stein equations; infinite horizon only), `"lags"`, or `"auto"` to choose by size.
        Under `jax.jit` and `jax.vmap`, `"auto"` takes `"doubling"` for every infinite horizon.

    **Returns:** a `LinearRNN` holding the update, of the student's shapes.

    **Raises:** `ValueError` for shapes that do not fit, NaN or infinite entries, and spectral radii for which the
    infinite-horizon update does not exist. Under `jax.jit` and `jax.vmap`, where values cannot be inspected, an update
    that does not exist comes back as NaN throughout.

    Source: docs/theory.md, section 3.

    >>> import localgrad as lg
    >>> student, teacher = lg.LinearRNN([[1.0]], [[0.0]], [[1.0]]), lg.LinearRNN([[2.0]], [[0.0]], [[1.0]])
    >>> lg.expected_update(lg.BPTT(), student, teacher).A.tolist()
    [[-1.0]]
    """
    _check_problem(student, teacher, horizon, loss, method)
    check_rule(rule, student)
    lags = lags_of(horizon, loss, _precision(student, teacher))
    if _is_traced(rule, student, teacher):
        traced_method = "doubling" if horizon is None and method != "lags" else "lags"
        return _nan_unless(*_update(rule, student, teacher, lags, traced_method))
    chosen = _choose(student, horizon) if method == "auto" else method
    split = split_rule(rule)
    update, exists = _compiled_update(*split, student, teacher, lags, chosen)
    if isinstance(exists, jax.core.Tracer):  # known numbers, but inside someone's jit
        return _nan_unless(update, exists)
    if exists:
        return update
    if chosen == "lags" and horizon is None:
        # More lags than the buffer holds (spectral radius close to 1), or no update at all.
        update, exists = _compiled_update(*split, student, teacher, lags, "doubling")
    if not exists:
        _explain(rule, student, teacher, horizon)
    return update


def expected_loss(
    student: LinearRNN, teacher: LinearRNN, *, horizon: int | None = None, loss: Loss = "final"
) -> Float[Array, ""]:
    r"""The exact expected loss `½E‖ε_T‖²` (or its mean over the sequence), half the squared H2 norm for `T → ∞`.

    Arguments and errors as in `expected_update`; under `jax.jit` a loss that does not exist comes back as infinity.
    Differentiable in both modes; BPTT's update is its gradient. For an infinite horizon it is a difference of
    variances, with an absolute rounding error of about machine precision times the teacher's variance.

    Source: docs/theory.md, sections 1 and 3.

    >>> import localgrad as lg
    >>> float(lg.expected_loss(lg.LinearRNN([[1.0]], [[0.0]], [[1.0]]), lg.LinearRNN([[2.0]], [[0.0]], [[1.0]])))
    0.5
    """
    _check_problem(student, teacher, horizon, loss, "auto")
    lags = lags_of(horizon, loss, _precision(student, teacher))
    if _is_traced(student, teacher):
        return _loss(student, teacher, lags)
    value = _compiled_loss(student, teacher, lags)
    if not isinstance(value, jax.core.Tracer) and not jnp.isfinite(value):
        _explain(None, student, teacher, horizon)
    return value


def silent_loss(teacher: LinearRNN, *, horizon: int | None = None, loss: Loss = "final") -> Float[Array, ""]:
    """The exact expected loss of a student without output, `½E‖y*_T‖²`: the unit in which losses are told.

    **Raises:** `ValueError` as `expected_loss`, and for a teacher without output, which leaves losses without a unit.
    """
    silent = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), teacher)
    value = expected_loss(silent, teacher, horizon=horizon, loss=loss)
    if not isinstance(value, jax.core.Tracer) and not value > 0:
        within = "" if horizon is None else f" within {horizon} steps"
        raise ValueError(f"the teacher's output is 0{within}, so there is nothing to learn; check A and B")
    return value


# --- dispatch --------------------------------------------------------------------------------------------------------


def _update(rule: Rule, student: LinearRNN, teacher: LinearRNN, lags: Lags, method: str) -> tuple[LinearRNN, Array]:
    """The update, and whether it exists."""
    rule, student, teacher = _in_one_precision(rule, student, teacher)
    if method == "doubling":
        update, complete = closed_form_update(rule, student, teacher)
    else:
        F, M = rule.feedback(student.A), rule.propagator(student.W)
        update, complete = update_by_lags(student, teacher, F, M, rule.lags, lags)
    finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(update)])
    return update, complete & jnp.all(finite)


def _nan_unless(update: LinearRNN, exists: Array) -> LinearRNN:
    return jax.tree.map(lambda x: jnp.where(exists, x, jnp.nan), update)


def _precision(student: LinearRNN, teacher: LinearRNN) -> Any:
    dtypes = {x.dtype for x in (*student.matrices, *teacher.matrices)}
    return dtypes.pop() if len(dtypes) == 1 else jnp.result_type(*dtypes)


def _in_one_precision(rule: Any, student: LinearRNN, teacher: LinearRNN) -> tuple[Any, LinearRNN, LinearRNN]:
    """All three in the wider precision of the two networks; whole numbers, which shape the rule, stay."""
    dtype = _precision(student, teacher)
    trees = (rule, student, teacher)
    return jax.tree.map(lambda x: x if isinstance(x, int) else jnp.asarray(x, dtype), trees)


def _loss(student: LinearRNN, teacher: LinearRNN, lags: Lags) -> Array:
    _, student, teacher = _in_one_precision(None, student, teacher)
    return closed_form_loss(student, teacher) if lags.num_blocks is None else loss_by_lags(student, teacher, lags)


@partial(jax.jit, static_argnums=(0, 1, 6))
def _compiled_update(
    structure: Any, whole: Any, numbers: Any, student: LinearRNN, teacher: LinearRNN, lags: Lags, method: str
) -> tuple[LinearRNN, Array]:
    return _update(join_rule(structure, whole, numbers), student, teacher, lags, method)


_compiled_loss = jax.jit(_loss)
_propagator = eqx.filter_jit(lambda rule, W: rule.propagator(W))


def _choose(student: LinearRNN, horizon: int | None) -> str:
    output, hidden, _ = student.sizes
    few_outputs = output <= _LAGS_UP_TO_OUTPUTS * hidden
    return "lags" if horizon is not None or (hidden >= _LAGS_FROM_HIDDEN and few_outputs) else "doubling"


def _is_traced(*trees: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_problem(student: LinearRNN, teacher: LinearRNN, horizon: Any, loss: str, method: str) -> None:
    for who, network in (("student", student), ("teacher", teacher)):
        if not isinstance(network, LinearRNN):
            raise ValueError(f"the {who} is a {type(network).__name__}, not a LinearRNN; use LinearRNN(A, W, B)")
        if max(x.ndim for x in network.matrices) > 2:
            raise ValueError(f"the {who} is a batch, with W of shape {network.W.shape}; map over it with jax.vmap")
    (output, _, input), (output_star, _, input_star) = student.sizes, teacher.sizes
    if (output, input) != (output_star, input_star):
        raise ValueError(
            f"student has {output} outputs and {input} inputs, teacher {output_star} and {input_star}; "
            "they must agree (hidden sizes may differ)"
        )
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1):
        raise ValueError(f"horizon must be a whole number of at least 1 step, or None for infinity; got {horizon!r}")
    if loss not in ("final", "sequence"):
        raise ValueError(f"loss must be 'final' or 'sequence', got {loss!r}")
    if method not in ("auto", "doubling", "lags"):
        raise ValueError(f"method must be 'auto', 'doubling' or 'lags', got {method!r}")
    if method == "doubling" and horizon is not None:
        raise ValueError(f"method 'doubling' sums all lags; for horizon {horizon} use 'lags' or 'auto'")


def check_rule(rule: Rule, student: LinearRNN) -> None:
    """Raise the `ValueError` that says why a rule does not fit a student, which may have leading axes."""
    if not isinstance(rule, Rule):
        raise ValueError(f"rule is a {type(rule).__name__}, not a Rule; the order is rule, student, teacher")
    rule.check_fits(student.A.shape[-2], student.W.shape[-1])


def check_update(rule: Rule, student: LinearRNN, teacher: LinearRNN, horizon: int | None, loss: str) -> None:
    """Raise the `ValueError` that `expected_update` would, without computing the update (short of an overflow)."""
    _check_problem(student, teacher, horizon, loss, "auto")
    check_rule(rule, student)
    _check_finite(rule, student, teacher)
    if horizon is None:
        _check_reach(rule, student, teacher)


def _explain(rule: Rule | None, student: LinearRNN, teacher: LinearRNN, horizon: int | None) -> None:
    """Raise the `ValueError` that says why an update or loss does not exist."""
    _check_finite(rule, student, teacher)
    if horizon is not None:
        raise ValueError(f"the update overflows at horizon {horizon}; shorten the horizon or scale down W")
    _check_reach(rule, student, teacher)
    raise ValueError("the update overflows in this floating-point precision; scale the weights down")


def _check_finite(rule: Rule | None, student: LinearRNN, teacher: LinearRNN) -> None:
    named = [(f"{who}'s {letter}", x) for who, net in (("student", student), ("teacher", teacher))
             for letter, x in zip("AWB", net.matrices, strict=True)]  # fmt: skip
    if rule is not None:
        named += [("rule's parameters", x) for x in jax.tree.leaves(rule)]
    for name, value in named:
        if not np.all(np.isfinite(value)):
            raise ValueError(f"{name} has an entry that is not finite; give finite numbers")


def _check_reach(rule: Rule | None, student: LinearRNN, teacher: LinearRNN) -> None:
    radii = {"student": spectral_radius(student.W), "teacher": spectral_radius(teacher.W)}
    for who, radius in radii.items():
        if radius >= 1 - 1e-15:
            raise ValueError(
                f"the {who}'s W has spectral radius {radius:.6g}, but an infinite horizon needs it below 1; "
                "scale W down or give a finite horizon"
            )
    if rule is None or rule.lags is not None:
        return
    M = _propagator(in_compiled_form(rule, *student.sizes[:2]), student.W)
    carried = float(jnp.abs(M).max()) if is_elementwise(M) else spectral_radius(M)
    if carried * max(radii.values()) >= 1 - 1e-15:
        raise ValueError(
            f"the propagator's spectral radius {carried:.6g} times that of W, {max(radii.values()):.6g}, is not "
            "below 1, so an infinite horizon has no update; lower the decay, set lags or give a finite horizon"
        )
