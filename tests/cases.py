"""The rules under test, each beside an independent account of its `F` and `M`, and the networks they learn on.

A `Case` makes its rule from a fixed feedback `R` and decays `gamma` (one a unit), so that the same case serves
networks (matrix `R`, vector `gamma`) and modes (scalars). A new preset is tested as soon as it stands in
`localgrad.rules.presets.PRESETS`, against `F` and `M` made in plain NumPy from its numbers; for those that ship,
`CREDIT_OF_PRESET` says once more, by hand, what they should be.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest
from oracles import Task

import localgrad as lg
from localgrad.rules.presets import PRESETS

OUTPUT, HIDDEN, INPUT, TEACHER_HIDDEN = 2, 4, 3, 5
# One set of sizes almost everywhere: compiling is what costs time here.


@dataclass(frozen=True)
class Case:
    """A rule, and in plain NumPy what it should be: `credit(A, W, R, gamma) -> (F, M)` and `lags`."""

    id: str
    rule: Callable[[Any, Any], lg.Rule]
    credit: Callable[..., tuple[np.ndarray, np.ndarray]]
    lags: int | None
    uses_axes: bool  # whether F or M singles out the hidden units' own axes

    def __call__(self) -> lg.Rule:
        return self.rule(FEEDBACK, GAMMA)

    def reference(self, student: Any) -> tuple[np.ndarray, np.ndarray, int | None]:
        return (*self.credit(student[0], student[1], FEEDBACK, GAMMA), self.lags)

    def on_mode(self, student: Any, r: float, g: float) -> tuple[float, float, int | None]:
        a, _, w = student
        F, M = self.credit(np.array([[a]]), np.array([[w]]), np.array([[r]]), np.array([g]))
        return float(F[0, 0]), float(M[0, 0]), self.lags


def random_matrices(output: int, hidden: int, input: int, seed: int, radius: float = 0.7) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((hidden, hidden))
    W *= radius / np.abs(np.linalg.eigvals(W)).max()
    return rng.standard_normal((output, hidden)), W, rng.standard_normal((hidden, input))


STUDENT = random_matrices(OUTPUT, HIDDEN, INPUT, seed=1, radius=0.6)
TEACHER = random_matrices(OUTPUT, TEACHER_HIDDEN, INPUT, seed=2, radius=0.7)
FEEDBACK = np.random.default_rng(3).standard_normal((OUTPUT, HIDDEN))
GAMMA = np.array([0.9, -0.4, 0.25, 0.6])
DECAY = 0.4
# Not a multiple of anything, and less than a block of lags.py; other tests cross a block's border.
HORIZON = 7


def network(matrices: Any) -> lg.LinearRNN:
    return lg.LinearRNN(*matrices)


def matrices(net: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.asarray(net.A), np.asarray(net.W), np.asarray(net.B)


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Every part within `tolerance`, relative to the largest entry of all expected parts together."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    scale = max(float(np.abs(x).max()) for x in expected)
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=0, atol=tolerance * max(scale, 1e-300))


def distance(one: Any, other: Any) -> float:
    """The largest difference of two updates, relative to the larger one's largest entry."""
    one, other = jax.tree.leaves(one), jax.tree.leaves(other)
    scale = max(float(np.abs(x).max()) for x in (*one, *other))
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in zip(one, other, strict=True)) / scale


def _diagonal(W: np.ndarray) -> np.ndarray:
    return np.diag(np.diag(W))


def _identity(W: np.ndarray) -> np.ndarray:
    return np.eye(len(W))


LAGS = 2
CREDIT_OF_PRESET: dict[str, tuple[Callable[..., tuple[np.ndarray, np.ndarray]], int | None]] = {
    "bptt": (lambda A, W, R, g: (A, W), None),
    "tbptt": (lambda A, W, R, g: (A, W), LAGS),
    "rflo": (lambda A, W, R, g: (R, DECAY * _identity(W)), None),
    "eprop": (lambda A, W, R, g: (A, _diagonal(W)), None),
    "eprop-bellec": (lambda A, W, R, g: (A, 0 * W), None),
    "feedback-alignment": (lambda A, W, R, g: (R, W), None),
    "three-factor": (lambda A, W, R, g: (R, 0 * W), 1),
}


def credit_of_numbers(rule: lg.Rule) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`F` and `M` of a rule without terms, in plain NumPy from its numbers."""
    F, M = rule.feedback, rule.propagator

    def credit(A: Any, W: Any, R: Any, g: Any) -> tuple[np.ndarray, np.ndarray]:
        fixed = 0 * A if F.fixed is None else R
        diagonal, decay = (0.0 if x is None else x for x in (M.diagonal, M.decay))
        return (F.symmetric or 0) * A + fixed, (M.full or 0) * W + diagonal * _diagonal(W) + decay * _identity(W)

    return credit


def preset_case(name: str) -> Case:
    make = PRESETS[name]
    accepted = inspect.signature(make).parameters
    required = {k for k, p in accepted.items() if p.default is inspect.Parameter.empty}

    def rule(R: Any, gamma: Any) -> lg.Rule:
        values = {"feedback": R, "decay": DECAY, "lags": LAGS}
        return make(**{key: values[key] for key in values if key in required or (key == "lags" and key in accepted)})

    example = rule(FEEDBACK, GAMMA)
    credit, lags = CREDIT_OF_PRESET.get(name, (credit_of_numbers(example), example.lags))
    uses_axes = example.propagator.diagonal is not None or np.ndim(example.propagator.decay) > 0
    return Case(name, rule, credit, lags, uses_axes)


def _random_point(seed: int, lags: int | None) -> Case:
    """A rule with every term at once, its coefficients drawn; small enough for the infinite horizon."""
    phi, rho, full, diagonal, decay = np.random.default_rng(seed).uniform(-0.5, 0.5, 5)

    def rule(R: Any, gamma: Any) -> lg.Rule:
        return lg.Rule(lg.Feedback(phi, rho * R), lg.Propagator(full, diagonal, decay * gamma), lags)

    def credit(A: Any, W: Any, R: Any, gamma: Any) -> tuple[np.ndarray, np.ndarray]:
        return phi * A + rho * R, full * W + diagonal * _diagonal(W) + decay * np.diag(gamma)

    return Case(f"random-{seed}-lags-{lags}", rule, credit, lags, uses_axes=True)


POINTS = [
    Case("eprop-random", lambda R, g: lg.EProp(R), lambda A, W, R, g: (R, _diagonal(W)), None, True),
    Case("rflo-per-unit", lambda R, g: lg.RFLO(R, g), lambda A, W, R, g: (R, np.diag(g)), None, True),
    Case(
        "rflo-symmetric",
        lambda R, g: lg.RFLO("symmetric", DECAY),
        lambda A, W, R, g: (A, DECAY * _identity(W)),
        None,
        False,
    ),
    Case("rflo-lags-3", lambda R, g: lg.Rule(R, DECAY, 3), lambda A, W, R, g: (R, DECAY * _identity(W)), 3, False),
    Case(
        "feedback-blend",
        lambda R, g: lg.Rule(lg.Feedback.blend(0.3, R)),
        lambda A, W, R, g: (0.7 * A + 0.3 * R, W),
        None,
        False,
    ),
    Case(
        "propagator-blend",
        lambda R, g: lg.Rule(R, lg.Propagator.blend(0.3, DECAY)),
        lambda A, W, R, g: (R, 0.7 * W + 0.3 * DECAY * _identity(W)),
        None,
        False,
    ),
    Case(
        "diagonal-with-decays-lags-17",  # one lag more than a block of lags.py holds
        lambda R, g: lg.Rule(R, lg.Propagator(diagonal=0.5, decay=0.5 * g), 17),
        lambda A, W, R, g: (R, 0.5 * _diagonal(W) + 0.5 * np.diag(g)),
        17,
        True,
    ),
    _random_point(11, None),
    _random_point(12, 3),
    Case(
        "sign-symmetric",
        lambda R, g: lg.Rule("symmetric" + lg.SignSymmetric(0.3), DECAY),
        lambda A, W, R, g: (A + 0.3 * np.sign(A), DECAY * _identity(W)),
        None,
        True,
    ),
    Case(
        "masked-with-fixed-matrix",
        lambda R, g: lg.Rule(R, lg.Mask(_mask(g), 0.8) + lg.FixedMatrix(_outer(g))),
        lambda A, W, R, g: (R, 0.8 * _mask(g) * W + _outer(g)),
        None,
        True,
    ),
]


def _mask(g: Any) -> Any:
    """A mask that follows the units when they are renamed: a synapse from smaller decays to larger ones."""
    return (np.abs(g)[:, None] >= np.abs(g)[None, :]).astype(float) if np.ndim(g) else 1.0


def _outer(g: Any) -> Any:
    """A fixed matrix that follows the units when they are renamed; of a mode a number."""
    return 0.2 * np.diag(g) if np.ndim(g) else 0.2 * g


CASES = [preset_case(name) for name in PRESETS] + POINTS
BY_ID = {case.id: case for case in CASES}
# For tests that compile a program of their own for each rule: every form of feedback, propagator and lags once, and the
# rest of the rules in the slow tier.
_FEW = ("bptt", "rflo-per-unit", "three-factor", "random-11-lags-None")
FEW_CASES = [pytest.param(case, id=case.id, marks=[] if case.id in _FEW else pytest.mark.slow) for case in CASES]


# --- tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskCase:
    """A task as the library makes it, and its matrices in plain NumPy. Students of `STUDENT`'s sizes fit."""

    id: str
    task: Callable[[], Any]  # a LinearTask, or a teacher
    matrices: Task

    def __call__(self) -> Any:
        return self.task()


def _given(id: str, matrices: Task) -> TaskCase:
    """The case of a task given by its matrices, what is 0 left out where it may be."""
    D, N, X, X0, Y, K, N_h = matrices
    maybe = [x if np.any(x) else None for x in (K, N_h)]
    return TaskCase(id, lambda: lg.LinearTask(D, N, X, X0, Y, *maybe), matrices)


def _some(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal(shape)


def _teacher_in_oracle(teacher: Any) -> Task:
    A, W, B = teacher
    n, (output, inputs) = len(W), (len(A), B.shape[1])
    return Task(W, B, np.zeros((inputs, n)), np.eye(inputs), A, np.zeros((n, output)), np.zeros((HIDDEN, inputs)))


def _closed(seed: int, strength: float) -> Task:
    """A task of 5 state variables and 4 noises that hears the student's output, in a loop that is stable."""
    D = random_matrices(1, TEACHER_HIDDEN, 1, seed, radius=0.5)[1]
    shapes = ((TEACHER_HIDDEN, 4), (INPUT, TEACHER_HIDDEN), (INPUT, 4), (OUTPUT, TEACHER_HIDDEN))
    N, X, X0, Y = (_some(seed + i, *shape, scale=0.5) for i, shape in enumerate(shapes, start=1))
    K = _some(seed + 5, TEACHER_HIDDEN, OUTPUT, scale=strength)
    return Task(D, N, X, X0, Y, K, _some(seed + 6, HIDDEN, 4, scale=0.3))


def _coloured(c: float) -> TaskCase:
    """Common input `x_t = c x_{t−1} + √(1 − c²) ξ_t` of student and teacher; the state begins with `x_{t−1}`."""
    A, W, B = TEACHER
    memory, fresh, none = c * np.eye(INPUT), np.sqrt(1 - c**2) * np.eye(INPUT), np.zeros((INPUT, TEACHER_HIDDEN))
    size = INPUT + TEACHER_HIDDEN
    task = Task(
        np.block([[memory, none], [c * B, W]]),
        np.concatenate([fresh, np.sqrt(1 - c**2) * B]),
        np.concatenate([memory, none], axis=1),
        fresh,
        np.concatenate([np.zeros((OUTPUT, INPUT)), A], axis=1),
        np.zeros((size, OUTPUT)),
        np.zeros((HIDDEN, INPUT)),
    )
    return TaskCase("coloured-teacher", lambda: lg.tasks.coloured_teacher(network(TEACHER), c), task)


_OPEN = _closed(seed=40, strength=0.0)
TASKS = [
    TaskCase("teacher", lambda: network(TEACHER), _teacher_in_oracle(TEACHER)),
    _coloured(0.5),
    _given("open-loop", _OPEN),
    _given("noise-on-the-student", _OPEN._replace(X=0 * _OPEN.X)),
    _given("closed-loop", _closed(seed=50, strength=0.02)),
    _given("plant-that-hears-only", _closed(seed=60, strength=0.15)._replace(X=0 * _OPEN.X)),
]
TASK_BY_ID = {case.id: case for case in TASKS}


# --- diagonal layers -------------------------------------------------------------------------------------------------


def random_layer(output: int, hidden: int, input: int, seed: int, radius: float = 0.7) -> tuple[np.ndarray, ...]:
    """`(C, poles, B)`, complex, the largest pole of modulus `radius`."""
    rng = np.random.default_rng(seed)
    C, poles, B = (
        rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        for shape in ((output, hidden), (hidden,), (hidden, input))
    )  # fmt: skip
    return C, radius * poles / np.abs(poles).max(), B


LAYER = random_layer(OUTPUT, HIDDEN, INPUT, seed=1, radius=0.6)
LAYER_TEACHER = random_layer(OUTPUT, TEACHER_HIDDEN, INPUT, seed=2, radius=0.7)
COMPLEX_FEEDBACK = random_layer(OUTPUT, HIDDEN, INPUT, seed=3)[0]


def layer(arrays: Any) -> lg.DiagonalSSM:
    return lg.DiagonalSSM(*arrays)


LAYER_CASES: dict[str, tuple[lg.Rule, Callable[[Any, Any], tuple[Any, Any]], int | None]] = {
    # rule, `(C, poles) -> (F, m)` in plain NumPy, lags
    "bptt": (lg.BPTT(), lambda C, w: (C, w), None),
    "eprop": (lg.EProp(), lambda C, w: (C, w), None),
    "tbptt": (lg.TruncatedBPTT(LAGS), lambda C, w: (C, w), LAGS),
    "rflo": (lg.RFLO(FEEDBACK, DECAY), lambda C, w: (FEEDBACK, np.full(HIDDEN, DECAY)), None),
    "rflo-complex": (lg.RFLO(COMPLEX_FEEDBACK, DECAY), lambda C, w: (COMPLEX_FEEDBACK, np.full(HIDDEN, DECAY)), None),
    "rflo-per-unit": (lg.RFLO(FEEDBACK, GAMMA), lambda C, w: (FEEDBACK, GAMMA), None),
    "feedback-alignment": (lg.FeedbackAlignment(COMPLEX_FEEDBACK), lambda C, w: (COMPLEX_FEEDBACK, w), None),
    "three-factor": (lg.ThreeFactor(FEEDBACK), lambda C, w: (FEEDBACK, 0 * w), 1),
    "blend-lags-17": (
        lg.Rule(lg.Feedback(0.4, FEEDBACK), lg.Propagator(full=0.3, diagonal=0.2, decay=0.5 * GAMMA), 17),
        lambda C, w: (0.4 * C + FEEDBACK, 0.5 * w + 0.5 * GAMMA),
        17,
    ),
    "sign-symmetric": (lg.Rule(lg.SignSymmetric(0.3)), lambda C, w: (0.3 * C / np.abs(C), w), None),
}
"""The rules that a diagonal layer takes, each beside an independent account of `F`, `m` and lags."""
