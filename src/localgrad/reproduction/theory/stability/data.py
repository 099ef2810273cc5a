"""Eigenvalues at random optimal solutions, kinds of stability on a map, and steps near the critical learning rate."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from localgrad.models.aligned import Mode
from localgrad.modes.equations import field
from localgrad.modes.stability import critical_learning_rate, optimal_mode, spectrum
from localgrad.reproduction.theory.closed_forms import (
    bptt_eigenvalues,
    rflo_eigenvalues,
    saddle_border,
    window_opens,
)
from localgrad.rules.presets import PAPER, RFLO, paper_rules
from localgrad.rules.rule import Rule

KINDS = ("stable, monotone", "stable, oscillating", "unstable, oscillating", "unstable, monotone", "saddle")


@dataclass(frozen=True)
class Parameters:
    """Samples over random teachers, `s`, `â` and `ŵ`; the map's grid; the curves' teacher. All dimensionless."""

    num_samples: int = 200_000
    grid: int = 300
    map_gains: tuple[float, ...] = (1.0, 0.1, 0.01)
    map_w_star: float = 0.8
    curve_teacher: tuple[float, float, float] = (1.0, 1.0, 0.8)
    feedback: float = 1.0
    decay: float = 0.5
    other_decay: float = 0.0
    num_step_checks: int = 200
    seed: int = 0


def _samples(p: Parameters) -> dict[str, np.ndarray]:
    """Random teachers and points: `c`, `|s|` and `|â|` log-uniform over two decades with random signs."""
    rng = np.random.default_rng(p.seed)
    signs = rng.choice([-1, 1], (3, p.num_samples))
    c, s, feedback = signs * np.exp(rng.uniform(np.log(0.1), np.log(10), (3, p.num_samples)))
    w_star, decay = rng.uniform(-0.95, 0.95, (2, p.num_samples))
    return {"c": c, "s": s, "feedback": feedback, "decay": decay, "w": w_star}


def kind_of(values: np.ndarray) -> np.ndarray:
    """Index into `KINDS` from a spectrum."""
    plus, minus = values[..., 1], values[..., 2]
    turning = np.abs(plus.imag) > 0
    kind = np.where(plus.real < 0, np.where(turning, 1, 0), np.where(turning, 2, 3))
    return np.where((plus.real > 0) & (minus.real < 0), 4, kind)


def _mismatch(found: np.ndarray, formula: np.ndarray) -> np.ndarray:
    """Largest difference of two pairs of eigenvalues in any order, over the size of the larger one."""
    straight, crossed = (np.abs(found - pair).max(axis=-1) for pair in (formula, formula[..., ::-1]))
    return np.minimum(straight, crossed) / np.abs(formula).max(axis=-1)


def _step_growth(p: Parameters, rule: Rule) -> np.ndarray:
    """Growth of a small deviation, a step, at 0.98 and 1.02 times the critical learning rate; shape `"check side"`."""
    rng = np.random.default_rng(p.seed + 1)
    teacher = Mode(1.0, 1.0, rng.uniform(-0.8, 0.8, p.num_step_checks))
    s = np.exp(rng.uniform(-0.7, 0.7, p.num_step_checks))
    limit, rest = critical_learning_rate(rule, teacher, s), np.stack(optimal_mode(teacher, s))
    growth = []
    for factor in (0.98, 1.02):
        x, sizes = rest + 1e-7 * rng.standard_normal(rest.shape), []
        for _ in range(150):
            x = x - factor * limit * np.stack(field(rule, Mode(*x), teacher))
            sizes.append(np.hypot(x[0] * x[1] - 1, x[2] - teacher.w))  # what is left of the deviation off the manifold
        growth.append(sizes[-1] / sizes[49])
    return np.stack(growth, axis=-1)


def _at_samples(p: Parameters) -> dict[str, tuple[object, np.ndarray]]:
    """Spectra at the random solutions, against the closed forms."""
    x = _samples(p)
    teacher, rules = Mode(x["c"], np.ones(p.num_samples), x["w"]), paper_rules(x["feedback"], x["decay"])
    spectra = [spectrum(rule, teacher, x["s"]) for rule in rules]
    bptt, _, rflo = spectra
    border = saddle_border(x["c"], x["feedback"])
    beyond = spectrum(rules[-1], teacher, -np.sign(x["feedback"]) * border * (1 + 1e-6))
    return {
        **{name: (("sample", "eigenvalue"), found.real) for name, found in zip(PAPER, spectra, strict=True)},
        "bptt_imaginary": ("sample", np.abs(bptt.imag).max(axis=-1)),
        "bptt_mismatch": ("sample", np.abs(bptt[:, 1:].real / bptt_eigenvalues(x["c"], x["s"], x["w"]) - 1).max(-1)),
        "rflo_imaginary": ("sample", np.abs(rflo.imag).max(axis=-1)),
        "rflo_mismatch": ("sample", _mismatch(rflo[:, 1:], rflo_eigenvalues(**x))),
        "same_sign": ("sample", x["feedback"] * x["s"] > 0),
        "below_border": ("sample", np.abs(x["s"]) < border),
        "window_predicted": ("sample", window_opens(x["c"], x["feedback"], x["decay"], x["w"])),
        "window_found": ("sample", beyond[:, 1].real < 0),
    }


def compute(p: Parameters) -> xr.Dataset:
    """Eigenvalues on random samples, the kinds of stability on a map, and curves along the manifold."""
    s = np.concatenate([-np.geomspace(5, 0.1, p.grid), np.geomspace(0.1, 5, p.grid)])
    decay, scaled_s = np.linspace(0, 0.95, p.grid), np.geomspace(0.3, 3, p.grid)
    mapped = RFLO(-p.feedback, decay[:, None])
    kinds = [
        kind_of(spectrum(mapped, Mode(c, 1.0, p.map_w_star), scaled_s * saddle_border(c, p.feedback)))
        for c in p.map_gains
    ]
    rules = paper_rules(p.feedback, p.decay)
    drawn = [*rules, RFLO(p.feedback, p.other_decay)]
    curves = np.stack([spectrum(rule, Mode(*p.curve_teacher), s) for rule in drawn])
    decays = [*(f", ŵ = {d:g}" for d in (p.decay, p.other_decay))]
    return xr.Dataset(
        {
            **_at_samples(p),
            "kind": (("gain", "decay", "scaled_s"), np.stack(kinds).astype(np.int8)),
            "curve": (("curve_rule", "s", "eigenvalue"), curves.real),
            "curve_imaginary": (("curve_rule", "s"), np.abs(curves.imag).max(axis=-1)),
            "step_growth": (("rule", "check", "side"), np.stack([_step_growth(p, rule) for rule in rules])),
        },
        {
            "eigenvalue": ["0", "λ₊", "λ₋"],
            "gain": list(p.map_gains),
            "decay": decay,
            "scaled_s": scaled_s,
            "s": s,
            "curve_rule": [rule.key for rule in drawn],
            "curve_label": ("curve_rule", [r.name + d for r, d in zip(drawn, ("", "", *decays), strict=True)]),
            "rule": [rule.key for rule in rules],
            "side": ["below", "above"],
        },
    )


DESCRIBE = {
    **{
        name: f"real parts of {rule.name}'s eigenvalues at random optimal solutions [1/learning time]"
        for name, rule in zip(PAPER, paper_rules(1.0, 0.0), strict=True)
    },
    "bptt_imaginary": "largest imaginary part of BPTT's eigenvalues [1/learning time]",
    "bptt_mismatch": "relative error of the closed form of BPTT's eigenvalues",
    "rflo_imaginary": "largest imaginary part of RFLO's eigenvalues [1/learning time]",
    "rflo_mismatch": "error of the closed form of RFLO's eigenvalues over the larger one",
    "same_sign": "whether RFLO's feedback has the sign of the readout",
    "below_border": "whether |s| is below the border of saddles",
    "window_predicted": "whether the theory has a window of stable solutions with âs < 0",
    "window_found": "whether RFLO is stable just beyond the border of saddles",
    "kind": "kind of stability, an index into its names",
    "curve": "real parts of the eigenvalues along the optimal manifold [1/learning time]",
    "curve_imaginary": "largest imaginary part of the eigenvalues along the manifold [1/learning time]",
    "step_growth": "growth of a small deviation over 100 steps",
    "eigenvalue": "name of the eigenvalue",
    "gain": "c of the map's teacher",
    "decay": "RFLO's decay on the map",
    "scaled_s": "s over the border of saddles",
    "s": "readout gain of the optimal solution",
    "curve_rule": "key of the rule",
    "curve_label": "name of the rule, with its decay",
    "rule": "key of the rule",
    "side": "side of the critical learning rate",
}
