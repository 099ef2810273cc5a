"""Runs of every rule on every student: exact flows with several teachers and numbers, and sampled training."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from localgrad.diagnostics.rank import singular_spectrum
from localgrad.learning.flow import learn
from localgrad.learning.methods import Flow
from localgrad.models.linear import LinearRNN
from localgrad.reproduction.networks.gaussian_networks import gaussian_weights, out_of_steps, random_teacher, scaled
from localgrad.reproduction.networks.rank.bound import UPDATES, BoundParameters, bound_of_rank
from localgrad.reproduction.networks.rank.sampled import sampled_rank
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule
from localgrad.updates.exact import silent_loss

Variant = tuple[float, float | None, float]


@dataclass(frozen=True)
class Parameters:
    """Sizes, scales and learning time; losses are relative to a silent student's.

    `scale`: of the students' weights, entries having standard deviation `scale / √hidden` (`scale` in `B`);
    `feedback_scale`: of `R`, standard deviation `feedback_scale / √hidden`. `largest_radius`: `W` is
    scaled down where its spectral radius is above. `variants`: scale, ŵ and feedback_scale of further runs of RFLO, or
    of e-prop with random feedback where ŵ is None. `num_teachers`: how many teachers the counts and the order of ranks
    are taken with. `longer`: tBPTT(1) runs once more with the first teacher, that many times as long. Sampled
    training is of the first `num_sampled` students, `num_steps` steps. `bound`: see `bound.py`.
    """

    hidden: int = 10
    teacher_hidden: int = 6
    teacher_radius: float = 0.9
    scale: float = 0.3
    decay: float = 0.5
    feedback_scale: float = 1.0
    variants: tuple[Variant, ...] = (
        (0.1, 0.5, 1.0), (0.9, 0.5, 1.0), (0.3, 0.0, 1.0), (0.3, 0.9, 1.0), (0.3, 0.5, 3.0), (0.9, 0.5, 3.0),
        (0.3, None, 3.0), (0.9, None, 3.0),
    )  # fmt: skip
    num_teachers: int = 6
    largest_radius: float = 0.9
    num_seeds: int = 20
    duration: float = 1000.0
    longer: float = 10.0
    max_steps: int = 2000
    thresholds: tuple[float, ...] = (0.1, 0.05, 0.01)
    learning_rate: float = 0.05
    num_steps: int = 4000
    batch_size: int = 32
    horizon: int = 40
    num_sampled: int = 6
    seed: int = 0
    bound: BoundParameters = field(default_factory=BoundParameters)


def compute(p: Parameters) -> xr.Dataset:
    """Every rule on every student; RFLO with other numbers; the bound."""
    rng = np.random.default_rng(p.seed)
    teacher = random_teacher(rng, p.teacher_hidden, p.teacher_radius)
    silent = float(silent_loss(teacher))
    unit = gaussian_weights(rng, (p.num_seeds,), 1, p.hidden)
    R = rng.standard_normal((p.num_seeds, 1, p.hidden)) / np.sqrt(p.hidden)
    F, students = p.feedback_scale * R, scaled(unit, p.scale, p.largest_radius)
    rules = [BPTT(), EProp(), EProp(F), TruncatedBPTT(1), RFLO(F, p.decay)]
    main = [_outcome(rule, students, teacher, silent, p) for rule in rules]
    variants = []
    varied = [EProp(size * R) if decay is None else RFLO(size * R, decay) for _, decay, size in p.variants]
    for rule, (scale, *_) in zip(varied, p.variants, strict=True):
        variants.append(_outcome(rule, scaled(unit, scale, p.largest_radius), teacher, silent, p))
    by_teacher = [main]
    for _ in range(p.num_teachers - 1):
        other = random_teacher(rng, p.teacher_hidden, p.teacher_radius)
        by_teacher.append([_outcome(rule, students, other, float(silent_loss(other)), p) for rule in rules])
    counted = {
        f"{key}_by_teacher": (("teacher", "rule", "seed"), np.array([[run[key] for run in row] for row in by_teacher]))
        for key in ("outcome", "cut", "loss")
    }
    second = np.array([[row[i]["second"] for row in by_teacher] for i in range(len(rules))])
    longer = _outcome(TruncatedBPTT(1), students, teacher, silent, p, times=p.longer)
    numbers = [[np.nan if x is None else x for x in variant] for variant in p.variants]
    return xr.Dataset(
        _stacked(main, "rule", ("outcome", "cut", "loss", "participation", "rank", "singular_values"))
        | {f"variant_{k}": v for k, v in _stacked(variants, "variant", ("outcome", "cut", "loss")).items()}
        | {"variant_numbers": (("variant", "number"), np.array(numbers))}
        | counted
        | {"second_by_teacher": (("rule", "teacher", "seed"), second)}
        | {f"longer_{key}": ("seed", longer[key]) for key in ("outcome", "loss")}
        | _sampled(rules, students, teacher, silent, p)
        | bound_of_rank(p.bound),
        coords={
            "rule": [rule.key for rule in rules],
            "rule_name": ("rule", [rule.name for rule in rules]),
            "has_feedback": ("rule", [rule.feedback.fixed is not None for rule in rules]),
            "has_decay": ("rule", [rule.propagator.decay is not None for rule in rules]),
            "change": ["W", "B"],
            "variant": [rule.key for rule in varied],
            "variant_name": ("variant", [rule.name for rule in varied]),
            "threshold": list(p.thresholds),
            "number": ["scale", "decay", "feedback_scale"],
            "outputs": list(p.bound.outputs),
            "update": [name for name, *_ in UPDATES],
        },
        attrs={"scale": p.scale, "decay": p.decay, "feedback_scale": p.feedback_scale},
    )


def _sampled(
    rules: list[Rule], students: LinearRNN, teacher: LinearRNN, silent: float, p: Parameters
) -> dict[str, Any]:
    """Sampled training of the first students under every rule."""
    settings = {"learning_rate": p.learning_rate, "num_steps": p.num_steps, "batch_size": p.batch_size}
    first = [x[: p.num_sampled] for x in students.matrices]
    runs = []
    for rule in rules:
        fixed = rule.feedback.fixed
        held = rule if fixed is None else rule.with_feedback(fixed[: p.num_sampled])
        runs.append(sampled_rank(held, LinearRNN(*first), teacher, silent, seed=p.seed, horizon=p.horizon, **settings))
    dims = {"sampled_loss": ("sampled",), "sampled_singular_values": ("sampled", "index")}
    return {key: (("rule", *dims[key]), np.stack([run[key] for run in runs])) for key in dims}


def _outcome(
    rule: Rule, students: LinearRNN, teacher: LinearRNN, silent: float, p: Parameters, *, times: float = 1.0
) -> dict[str, Any]:
    """How the runs of one rule ended, and the spectra of what they learned; axes "seeds", "change seeds"."""
    duration = times * p.duration
    flow = Flow(rtol=1e-3, atol=1e-5, max_steps=p.max_steps)
    curve = learn(rule, students, teacher, duration=duration, method=flow)
    spectrum = singular_spectrum(curve.initial, curve.final)
    values = spectrum.W.singular_values
    return {
        "outcome": np.asarray(curve.outcome, dtype=int),
        "cut": out_of_steps(curve, duration),
        "loss": curve.loss[:, -1] / silent,
        "participation": spectrum.W.participation_ratio,
        "rank": np.stack([spectrum.W.rank, spectrum.B.rank]),
        "singular_values": values / values[:, :1],
        "second": values[:, 1] / values[:, 0],
    }


def _stacked(runs: list[dict[str, Any]], axis: str, keys: tuple[str, ...]) -> dict[str, Any]:
    dims = {"rank": ("change", "seed"), "singular_values": ("seed", "index")}
    return {key: ((axis, *dims.get(key, ("seed",))), np.stack([run[key] for run in runs])) for key in keys}


DESCRIBE = {
    "outcome": "how a run ended, a code of Outcome",
    "cut": "whether a run used up its steps before its time",
    "loss": "final loss over that of a silent student",
    "participation": "participation ratio of what was learned in W",
    "rank": "rank of what was learned",
    "singular_values": "singular values of what was learned in W over the largest",
    "variant_outcome": "how a run with other numbers ended, a code of Outcome",
    "variant_cut": "whether a run with other numbers used up its steps before its time",
    "variant_loss": "final loss of a run with other numbers over that of a silent student",
    "variant_numbers": "scale of the weights, decay (none for e-prop) and scale of the feedback",
    "outcome_by_teacher": "how a run ended, a code of Outcome, for every teacher",
    "cut_by_teacher": "whether a run used up its steps before its time, for every teacher",
    "loss_by_teacher": "final loss over that of a silent student, for every teacher",
    "second_by_teacher": "second singular value of what was learned in W over the largest, for every teacher",
    "longer_outcome": "how a longer run of tBPTT(1) with the first teacher ended, a code of Outcome",
    "longer_loss": "final loss of a longer run of tBPTT(1) over that of a silent student",
    "sampled_loss": "final loss of sampled training over that of a silent student",
    "sampled_singular_values": "singular values of what sampled training learned in W over the largest",
    "rank_unaligned": "rank of what RFLO learned in a few steps, unaligned networks",
    "rank_aligned": "rank of what RFLO learned in a few steps, aligned networks",
    "rank_full": "rank of what BPTT learned in a few steps",
    "outside_feedback": "share of the energy of what RFLO learned outside the span of its feedback",
    "rule": "key of the rule",
    "rule_name": "name of the rule",
    "has_feedback": "whether the rule has a fixed feedback",
    "has_decay": "whether the rule has a decay of its own",
    "change": "weights that were learned",
    "variant": "key of the rule with other numbers",
    "variant_name": "name of the rule with other numbers",
    "threshold": "loss over that of a silent student that counts as converged",
    "number": "name of the number",
    "outputs": "number of outputs",
    "update": "horizon and loss of the update",
}
