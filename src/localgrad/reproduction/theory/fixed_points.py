"""Where learning comes to rest: the manifolds of the theory, and a search that does not know them.

Optimal `(s, c/s, w*)` under every rule; silent `(0, 0, w)` under rules with symmetric feedback; nothing else under
RFLO. For longer truncations and for blends, of which the literature says nothing, see `modes/fixed_points.py`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import GREY, PALETTE, label_panels, new_figure
from localgrad.models.aligned import Mode
from localgrad.modes.equations import field, geometric_sum, loss
from localgrad.modes.fixed_points import search_fixed_points
from localgrad.modes.stability import optimal_mode, spectrum_at
from localgrad.reproduction.axes import name_of, rule_axis
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
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


def _rules(p: Parameters) -> list[Rule]:
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
    rules, teacher = _rules(p), _random_teachers(p)
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


def claims(data: xr.Dataset) -> list[Claim]:
    """The paper's manifolds are there, with their losses and eigenvalues; nothing else is found."""
    paper = "paper, stationary solutions"
    rules = _rules(Parameters())
    bptt, tbptt, longer = BPTT().key, TruncatedBPTT(1).key, [TruncatedBPTT(lags).key for lags in TRUNCATIONS[1:]]
    local = next(rule for rule in rules if rule.feedback.is_random and rule.propagator.is_scalar)
    blends = [rule.key for rule in rules[-3:]]
    rflo = data.num_roots.sel(rule=local.key).sum("teacher")
    found = data.num_roots.sum("teacher")
    return [
        Claim.at_most(
            "fixed-points.optimal",
            paper,
            "Every rule rests on the optimal manifold (s, c/s, w*) (largest |Δ|, all rules, random teachers and s)",
            1e-10,
            data.optimal_speed.max(),
        ),
        Claim.at_most(
            "fixed-points.optimal-loss", paper, "There the loss is 0 (largest)", 1e-20, data.optimal_loss.max()
        ),
        Claim.at_most(
            "fixed-points.silent",
            paper,
            "BPTT and tBPTT rest on the non-optimal manifold (0, 0, w) (largest |Δ|)",
            0.0,
            data.silent_speed.max(),
        ),
        Claim.at_most(
            "fixed-points.silent-loss",
            paper,
            "There the loss is c²/(2(1−w*²)) (largest relative error)",
            1e-10,
            data.silent_loss_error.max(),
        ),
        *(
            Claim.at_most(
                f"fixed-points.saddle-{key}",
                "paper, stability",
                f"The non-optimal manifold is a saddle under {rule.name}: eigenvalues {formula} and 0 (relative error)",
                1e-7,
                np.maximum(data.saddle_mismatch, data.saddle_middle).sel(symmetric_rule=rule.key).max(),
            )
            for key, rule, formula in (
                ("bptt", BPTT(), "±|c|/(1−w w*)"),
                ("tbptt", TruncatedBPTT(1), "±|c|/√(1−w w*)"),
            )
        ),
        Claim.at_most(
            "fixed-points.saddle-longer",
            "new: theory, section 6",
            "Under tBPTT(2…6) its eigenvalues are ±|c| √(σ(w w*)/(1−w w*)) and 0 (largest relative error)",
            1e-7,
            np.maximum(data.saddle_mismatch, data.saddle_middle).sel(symmetric_rule=longer).max(),
        ),
        Claim.at_most(
            "fixed-points.rflo-push",
            "theory, section 6",
            "RFLO does not rest at a = b = 0: |Δb| = |â c|/(1−ŵ w*) (largest relative error)",
            1e-10,
            data.rflo_push_error.max(),
        ),
        Claim.equal(
            "fixed-points.rflo-none",
            paper,
            "RFLO has no fixed point besides the optimal ones (roots found elsewhere, all teachers)",
            0,
            rflo.drop_sel(label="optimal").sum(),
            tolerance=0,
        ),
        Claim.at_least(
            "fixed-points.search-power",
            "check of the search",
            "The search finds the optimal manifold under every rule, and the silent line under symmetric ones (fewest)",
            20,
            min(found.sel(label="optimal").min(), found.sel(label="silent", rule=[bptt, tbptt, *longer]).min()),
        ),
        Claim.equal(
            "fixed-points.longer-truncations",
            "new: theory, section 6",
            "tBPTT(2…6) have the optimal manifold and the silent line, and nothing else (other roots found)",
            0,
            found.sel(rule=longer, label=["blocked", "unknown"]).sum(),
            tolerance=0,
        ),
        Claim.at_least(
            "fixed-points.traps",
            "new: theory, section 6",
            "Blends of feedback do rest where it vanishes, at b = 0 and at b ≠ 0 (roots found there, fewest)",
            20,
            found.sel(rule=[blends[0], blends[2]], label=["silent", "blocked"]).min(),
        ),
        Claim.equal(
            "fixed-points.blends",
            "new: theory, section 6",
            "Blends rest on the optimal manifold and where their feedback vanishes, nowhere else (other roots found)",
            0,
            found.sel(rule=blends, label="unknown").sum(),
            tolerance=0,
        ),
    ]


def draw(data: xr.Dataset) -> Figure:
    """Roots found under four rules, in the plane of the input–output weights."""
    rules = _rules(Parameters())
    shown = [rules[0].key, rules[3].key, rules[7].key, rules[-3].key]
    figure, axes = new_figure(2, 2, height=5.6, sharex=True, sharey=True)
    s = np.linspace(0.2, 5, 200)
    for ax, rule in zip(axes, shown, strict=True):
        for sign in (-1, 1):
            ax.plot(
                sign * s, sign / s, color=GREY, linewidth=1, label="optimal: ab = c" if sign > 0 else None, zorder=1
            )
        points = data.roots.sel(rule=rule)
        image = ax.scatter(points[:, 0], points[:, 1], c=points[:, 2], s=12, vmin=-1, vmax=1, cmap="cividis", zorder=2)
        ax.set(title=name_of(data, rule), xlim=(-4, 4), ylim=(-4, 4))
    axes[0].plot(0, 0, "o", markersize=13, markerfacecolor="none", color=PALETTE[3], label="silent line, seen end-on")
    axes[1].plot(0, 0, "o", markersize=13, markerfacecolor="none", color=PALETTE[3])
    axes[3].axvline(-1, color=PALETTE[3], linestyle="--", linewidth=1, label="feedback vanishes: f = 0")
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=len(handles))
    for ax in axes[2:]:
        ax.set_xlabel("a")
    for ax in axes[::2]:
        ax.set_ylabel("b")
    figure.colorbar(image, ax=axes, label="w of the root", shrink=0.6)
    label_panels(axes)
    return figure


def table(data: xr.Dataset) -> list[list[str]]:
    """How many of the starts, over all teachers, ended on which manifold."""
    total = data.num_roots.sum("teacher")
    rows = [
        [name_of(data, rule), *(str(int(x)) for x in total.sel(rule=rule)), str(int(data.escaped.sel(rule=rule).sum()))]
        for rule in data.rule.values
    ]
    return [["rule", "optimal", "silent (b = 0, f = 0)", "blocked (f = 0)", "unknown", "no root reached"], *rows]


EXPERIMENT = Experiment(
    name="fixed-points",
    title="Where learning comes to rest",
    question="Which fixed points does each rule have, and does a search that knows none of them find others?",
    parameters=Parameters(),
    quick=Parameters(teachers=Parameters.teachers[:1], num_starts=400, num_points=500),
    compute=compute,
    claims=claims,
    describe={
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
    },
    figures=(
        FigureSpec(
            "roots-found",
            draw,
            "Fixed points found by a root search from random starts (teacher (1, 1, 0.8); colour: their w). A, B: "
            "BPTT and tBPTT(3) rest on the two branches of the hyperbola, all with w = w*, and on the silent line a = "
            "b = 0 with any w. C: RFLO rests on the hyperbola only. D: a blend of symmetric and fixed feedback (α = "
            "½, â = 1) also rests wherever its feedback vanishes (dashed), at non-zero loss: a trap that no paper "
            "we know describes.",
        ),
    ),
    table=table,
    table_caption="Ends of the root search, over all teachers. No root reached: it ran towards infinity or |w| = 1.",
)
