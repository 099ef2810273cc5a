"""Speeds and losses on the theory's manifolds, eigenvalues of its saddles, and the roots that a blind search finds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from localgrad.models.aligned import Mode
from localgrad.modes.equations import field, geometric_sum, loss
from localgrad.modes.fixed_points import search_fixed_points
from localgrad.modes.stability import optimal_mode, spectrum_at
from localgrad.reproduction.axes import rule_axis
from localgrad.rules.parts import Feedback, Propagator
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule

TRUNCATIONS = range(1, 7)
LABELS = ("optimal", "silent", "blocked", "unknown")


@dataclass(frozen=True)
class Parameters:
    """Teachers `(a*, b*, w*)` to search under, and the rules' numbers; all dimensionless."""

    teachers: tuple[tuple[float, float, float], ...] = (
        (1.0, 1.0, 0.8),
        (1.0, 1.0, -0.6),
        (1.5, -0.7, 0.3),
        (0.6, 0.9, 0.0),
    )
    feedback: float = 1.0
    decay: float = 0.5
    num_starts: int = 800
    num_points: int = 2000
    seed: int = 0


def rules_of(p: Parameters) -> list[Rule]:
    """The rules searched: of the literature first, then three blends of which it says nothing."""
    blends = [
        Rule(Feedback.blend(0.5, p.feedback), "full", name="half-fixed feedback", key="half-feedback"),
        Rule("symmetric", Propagator.blend(0.5, p.decay), name="half-decay propagator", key="half-propagator"),
        Rule(
            Feedback.blend(0.5, -p.feedback),
            Propagator.blend(0.5, p.decay),
            name="half of both, â = −1",
            key="half-of-both",
        ),
    ]
    truncated = [TruncatedBPTT(lags) for lags in TRUNCATIONS]
    return [BPTT(), *truncated, RFLO(p.feedback, p.decay), RFLO("symmetric", p.decay), EProp(p.feedback), *blends]


def _speed(rule: Rule, student: Mode, teacher: Mode) -> np.ndarray:
    return np.max([np.abs(np.broadcast_to(x, np.shape(student.w))) for x in field(rule, student, teacher)], axis=0)


def _random_teachers(p: Parameters) -> Mode:
    rng = np.random.default_rng(p.seed)
    signs = rng.choice([-1, 1], (2, p.num_points))
    a, b = signs * rng.uniform(0.2, 2.0, (2, p.num_points))
    return Mode(a, b, rng.uniform(-0.95, 0.95, p.num_points))


def _symmetric_rules() -> list[Rule]:
    return [BPTT(), *map(TruncatedBPTT, TRUNCATIONS)]


def _saddles(p: Parameters) -> dict[str, Any]:
    """Largest and smallest eigenvalue on the silent line of random teachers, and the theory's."""
    teacher = _random_teachers(p)
    w = np.random.default_rng(p.seed + 1).uniform(-0.95, 0.95, p.num_points)
    silent = Mode(0 * w, 0 * w, w)
    rules = _symmetric_rules()
    values = np.stack([spectrum_at(rule, silent, teacher).real for rule in rules])
    c, cross = np.abs(teacher.a * teacher.b), 1 - w * teacher.w
    theory = np.stack([c * np.sqrt(geometric_sum(w * teacher.w, rule.lags) / cross) for rule in rules])
    mismatch = np.maximum(np.abs(values[..., 0] - theory), np.abs(values[..., 2] + theory)) / theory
    loss_error = np.abs(loss(silent, teacher) * 2 * (1 - teacher.w**2) / c**2 - 1)
    speed = np.stack([_speed(rule, silent, teacher) for rule in rules])
    return {
        "saddle_mismatch": (("symmetric_rule", "point"), mismatch),
        "saddle_middle": (("symmetric_rule", "point"), np.abs(values[..., 1])),
        "silent_speed": (("symmetric_rule", "point"), speed),
        "silent_loss_error": ("point", loss_error),
    }


def compute(p: Parameters) -> xr.Dataset:
    """Speeds and losses on the manifolds, saddle eigenvalues, and the counts and places of the roots found."""
    rules, teacher = rules_of(p), _random_teachers(p)
    s = np.random.default_rng(p.seed + 2).uniform(0.2, 2, p.num_points) * np.sign(teacher.a)
    optimum = optimal_mode(teacher, s)
    searches = [
        [search_fixed_points(r, Mode(*t), num_starts=p.num_starts, seed=p.seed) for t in p.teachers] for r in rules
    ]
    counts = [[[search.count(label) for label in LABELS] for search in row] for row in searches]
    roots = np.full((len(rules), p.num_starts, 3), np.nan)
    for i, row in enumerate(searches):
        found = np.stack(row[0].roots, axis=1)
        roots[i, : len(found)] = found
    # RFLO with a = b = 0: what moves b is the constant −â c σ(ŵ w*).
    silent = Mode(0 * s, 0 * s, np.random.default_rng(p.seed + 3).uniform(-0.95, 0.95, p.num_points))
    pushed = np.abs(field(RFLO(p.feedback, p.decay), silent, teacher).b)
    expected = np.abs(p.feedback * teacher.a * teacher.b / (1 - p.decay * teacher.w))
    saddles = _saddles(p)
    return xr.Dataset(
        {
            "optimal_speed": (("rule", "point"), np.stack([_speed(rule, optimum, teacher) for rule in rules])),
            "optimal_loss": ("point", loss(optimum, teacher)),
            "roots": (("rule", "start", "parameter"), roots),
            "num_roots": (("rule", "teacher", "label"), counts),
            "escaped": (("rule", "teacher"), [[search.num_escaped for search in row] for row in searches]),
            "rflo_push_error": ("point", np.abs(pushed / expected - 1)),
            "rflo_push": ("point", pushed),
            **saddles,
        },
        {
            **rule_axis(rules),
            **rule_axis(_symmetric_rules(), "symmetric_rule"),
            "parameter": ["a", "b", "w"],
            "label": list(LABELS),
        },
    )


DESCRIBE = {
    "rule": "rule",
    "rule_name": "name of the rule",
    "symmetric_rule": "rule with symmetric feedback",
    "symmetric_rule_name": "name of the rule with symmetric feedback",
    "parameter": "weight of a mode: a, b or w",
    "label": "manifold on which a root lies",
    "optimal_speed": "largest component of the update on the optimal manifold [1/learning time]",
    "optimal_loss": "loss on the optimal manifold",
    "roots": "weights of a root found; NaN beyond the last",
    "num_roots": "number of roots found",
    "escaped": "number of starts that reached no root",
    "rflo_push_error": "difference of RFLO's update of b at a = b = 0 from the theory's, relative",
    "rflo_push": "size of RFLO's update of b at a = b = 0 [1/learning time]",
    "saddle_mismatch": "difference of the outer eigenvalues on the silent line from the theory's, relative",
    "saddle_middle": "size of the middle eigenvalue on the silent line [1/learning time]",
    "silent_speed": "largest component of the update on the silent line [1/learning time]",
    "silent_loss_error": "difference of the loss on the silent line from the theory's, relative",
}
