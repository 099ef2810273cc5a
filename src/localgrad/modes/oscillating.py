r"""Modes that oscillate: a complex pole `w` together with its conjugate.

`h ← w h + b x`, output `Re(a h)`, with complex `a, b, w`: the errors are `E_j = Re(a w^j b) − Re(a* w*^j b*)`. Updates
are told as `∂/∂Re + i ∂/∂Im`. With student and teacher and their conjugates side by side,
`L = (w, w*, w̄, w̄*)`, `C = (a, −a*, ā, −ā*)/2`, `B = (b, b*, b̄, b̄*)`, they are sums of geometric series:

    Δa = Σ_p C_p B_p b̄ /(1 − L_p w̄)
    Δb = Σ_p f̄ C_p B_p σ(m̄ L_p)
    Δw = Σ_p f̄ C_p B_p b̄ σ(m̄ L_p) L_p/(1 − L_p w̄)
    loss = ½ Σ_pq C_p B_p C_q B_q /(1 − L_p L_q)

(with late errors each step more takes `(Δa, Δb, Δw)` to `(w̄ Δa, m̄ Δb, m̄ Δw + f̄ Δa)`, as in `equations.py`.)

`f` and `m` are the rule's feedback and propagator at the mode, which must be of the form `φ₀ + φ₁ a` and `μ₀ + μ₁ w`. A
real mode is the special case of real numbers.

Limits: direct poles; NumPy arrays and numbers; what else is done with modes, trajectories above all, takes real ones.
Source: docs/theory.md, section 11.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT, Poles
from localgrad.modes.arguments import as_float, as_mode, as_rule
from localgrad.modes.equations import Line, LinearRule, arriving_late, geometric_sum, lags_before
from localgrad.rules.rule import Rule


def field(rule: LinearRule, student: Mode, teacher: Mode) -> Mode:
    """`(Δa, Δb, Δw)`, complex, without checks."""
    a, b, w = student
    f, m = (part.on_mode(x).conj() for part, x in ((rule.feedback, a), (rule.propagator, w)))
    total, kept = Mode(0, 0, 0), lags_before(rule)
    for c, b_p, pole in _joined(student, teacher):
        own, credit = 1 / (1 - pole * w.conj()), f * geometric_sum(m * pole, kept)
        terms = c * b_p * b.conj() * own, credit * c * b_p, credit * c * b_p * b.conj() * pole * own
        total = Mode(*(x + y for x, y in zip(total, terms, strict=True)))
    return Mode(*arriving_late(rule, total, (f, m, w.conj())))


def loss(student: Mode, teacher: Mode) -> Any:
    """Half the sum of the squared errors of the Markov parameters, without checks."""
    parts = list(_joined(student, teacher))
    pairs = [c * b * d * e / (1 - v * w) for c, b, v in parts for d, e, w in parts]
    return sum(pairs[1:], pairs[0]).real / 2


def _joined(student: Mode, teacher: Mode) -> Any:
    """`C_p, B_p, L_p`."""
    for mode, sign in ((student, 1), (teacher, -1)):
        yield sign * mode.a / 2, mode.b, mode.w
        yield sign * mode.a.conj() / 2, mode.b.conj(), mode.w.conj()


def is_oscillating(*modes: Any) -> bool:
    """Whether a mode has an entry of a complex type."""
    entries = [x for mode in modes if isinstance(mode, tuple | list) and len(mode) in (1, 3) for x in mode]
    return any(isinstance(x, complex) or getattr(getattr(x, "dtype", None), "kind", "") == "c" for x in entries)


def checked(rule: Any, student: Any, teacher: Any, poles: Poles = DIRECT) -> tuple[LinearRule, Mode, Mode]:
    """The three in complex numbers; `ValueError` outside the equations' domain, and for poles that are not direct."""
    if poles is not DIRECT:
        raise ValueError(
            f"an oscillating mode has direct poles, not {poles.key} ones; leave poles out, or give a real w"
        )
    rule = as_rule(rule)
    phi0, phi1, mu0, mu1 = rule.require_affine("an oscillating mode")
    linear = LinearRule(Line(phi0, phi1), Line(mu0, mu1), rule.lags, rule.delay)
    student, teacher = checked_pair(student, teacher)
    _broadcastable(phi0, phi1, mu0, mu1, *student, *teacher)
    if rule.lags is None:
        product = abs(linear.propagator.on_mode(student.w)) * np.maximum(abs(student.w), abs(teacher.w))
        if not np.all(product < 1):
            raise ValueError(
                f"propagator times pole has modulus {np.max(product):.6g}, which must be below 1 when all lags are "
                "kept; lower the decay or set lags"
            )
    return linear, student, teacher


def checked_pair(student: Any, teacher: Any) -> tuple[Mode, Mode]:
    """Both modes in complex numbers; `ValueError` outside the domain."""
    student, teacher = _as_complex(student, "student"), _as_complex(teacher, "teacher")
    _broadcastable(*student, *teacher)
    return student, teacher


def _as_complex(value: Any, owner: str) -> Mode:
    if not is_oscillating(value):
        value = as_mode(value, owner)
    letters = zip("abw", value, strict=True)
    parts = [x if is_oscillating((x,)) else as_float(x, f"{owner} {letter}") for letter, x in letters]
    mode = Mode(*(np.asarray(x, dtype=complex) for x in parts))
    for letter, x in zip("abw", mode, strict=True):
        if not np.all(np.isfinite(x)):
            raise ValueError(f"{owner} {letter} is not finite; give finite numbers")
    if not np.all(abs(mode.w) < 1):
        raise ValueError(f"{owner} w has modulus {abs(mode.w).max():.6g}, which must be below 1 (stable mode)")
    return mode


def _broadcastable(*numbers: Any) -> None:
    shapes = [np.shape(x) for x in numbers]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"student, teacher and rule have shapes {set(shapes)}, which do not broadcast") from None


def update(rule: Rule, student: Mode, teacher: Mode, poles: Poles) -> Mode:
    """`mode_update` of an oscillating mode."""
    return Mode(*(x[()] for x in field(*checked(rule, student, teacher, poles))))


def jacobian(rule: Rule, student: Mode, teacher: Mode, poles: Poles) -> np.ndarray:
    """`mode_jacobian` of an oscillating mode: real, 6 × 6, by `(Re a, Im a, Re b, Im b, Re w, Im w)`."""
    linear, student, teacher = checked(rule, student, teacher, poles)
    numbers = np.broadcast_arrays(*student, *teacher, *linear.feedback, *linear.propagator)
    shape, flat = numbers[0].shape, [x.reshape(-1) for x in numbers]
    here = np.stack([part for x in flat[:3] for part in (x.real, x.imag)], axis=-1)

    with jax.enable_x64(True):
        found = np.asarray(_jacobians(here, tuple(flat[3:]), linear.lags, linear.delay))
    return found.reshape(*shape, 6, 6)


@partial(jax.jit, static_argnames=("lags", "delay"))
def _jacobians(points: Any, numbers: tuple[Any, ...], lags: int | None, delay: int) -> Any:
    """Of the flow in real coordinates, at points `"point 6"`; numbers of teacher and rule, each of shape `"point"`."""

    def flow(x: Any, a: Any, b: Any, w: Any, *rule: Any) -> Any:
        student = Mode(*(x[2 * k] + 1j * x[2 * k + 1] for k in range(3)))
        delta = field(LinearRule(Line(*rule[:2]), Line(*rule[2:]), lags, delay), student, Mode(a, b, w))
        return -jnp.stack([part for y in delta for part in (y.real, y.imag)])

    return jax.vmap(jax.jacfwd(flow))(points, *numbers)


def optimal_mode(teacher: Mode, s: Any) -> Mode:
    """The point `(s, c/s, w*)` of the optimal manifold, complex `s`."""
    teacher, s = _as_complex(teacher, "teacher"), np.asarray(s, dtype=complex)
    c = teacher.a * teacher.b
    for name, value in (("teacher a* b*", c), ("s", s)):
        if not (np.all(np.isfinite(value)) and np.all(value != 0)):
            raise ValueError(f"{name} is 0 or not finite, so that (s, c/s, w*) is no optimum; give another value")
    return Mode(*np.broadcast_arrays(s, c / s, teacher.w))


def spectrum(rule: Rule, teacher: Mode, s: Any, poles: Poles) -> np.ndarray:
    """The six eigenvalues at `(s, c/s, w*)`: two that are 0, along the manifold of complex `s`, then by real part."""
    values = np.linalg.eigvals(jacobian(rule, optimal_mode(teacher, s), teacher, poles)).astype(complex)
    values = np.take_along_axis(values, np.argsort(abs(values), axis=-1), axis=-1)
    moving = values[..., 2:]
    moving = np.take_along_axis(moving, np.argsort(-moving.real, axis=-1), axis=-1)
    return np.concatenate([np.zeros_like(values[..., :2]), moving], axis=-1)
