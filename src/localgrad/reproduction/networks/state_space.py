r"""The paper's question on state-space layers: does the bound on the rank of what is learned carry over?

In a diagonal layer `h' = λ ∘ h + B x` the poles are a vector, and what is left to measure is the change of B (that of C
has at most as many ranks as there are outputs `o`, under any rule). An update is `ΔB = (Fᴴ𝒞 ∘ Q) ℬ` with
`Q_kp = 1/(1 − m̄_k L_p)`. So

- one decay `m = ŵ` for all units and a fixed F: Q has equal rows, and the rank stays at most `o` for ever;
- `q` distinct constant decays: at most `q·o`, for ever;
- the layer's own poles, `m = λ`, as in BPTT, RTRL and e-prop, which coincide: at most `q·o` in one update, with `q`
  distinct poles, and poles move apart while they learn.

How poles are parametrised changes how they move, and not Q. So the law belongs to traces like RFLO's, not to the layer.

Limits: single layers, white noise, random teachers.

Source: docs/theory.md, section 11.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import label_panels, new_figure, rule_style
from localgrad.learning.flow import learn
from localgrad.learning.methods import Flow
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.layer_poles import LAYER_POLES
from localgrad.reproduction.axes import name_of, rule_axis
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule
from localgrad.updates.expected import expected_update

_EXACT, _LEARNED = 1e-10, 1e-6  # relative to the largest singular value: of one update, and of what was learned


@dataclass(frozen=True)
class Parameters:
    """Sizes of layers and numbers of random draws; `duration` in learning time."""

    outputs: int = 2
    hidden: int = 8
    inputs: int = 6
    teacher_hidden: int = 6
    seeds: int = 5
    kinds: tuple[str, ...] = tuple(LAYER_POLES)
    radius: float = 0.8
    duration: float = 30.0
    draws: int = 20
    seed: int = 0


def _layers(p: Parameters, rng: Any, hidden: int, distinct: int | None = None) -> DiagonalSSM:
    """A random layer, of so many distinct poles."""

    def gaussian(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    count = hidden if distinct is None else distinct
    poles = p.radius * np.sqrt(rng.uniform(0.01, 1, count)) * np.exp(1j * rng.uniform(0, np.pi, count))
    scale = (2 * hidden) ** -0.5
    return DiagonalSSM(
        scale * gaussian(p.outputs, hidden), np.resize(poles, hidden), gaussian(hidden, p.inputs) / p.inputs**0.5
    )


def _rules(p: Parameters, rng: Any) -> list[Rule]:
    R = rng.standard_normal((p.outputs, p.hidden))
    two_decays = Rule(R, np.resize([0.7, 0.2], p.hidden), name="RFLO, two decays", key="two-decays")
    return [BPTT(), TruncatedBPTT(1), EProp(R), RFLO(R, 0.5), two_decays]


def compute(p: Parameters) -> xr.Dataset:
    """Singular values of what is learned in B, and ranks of single updates with few distinct poles."""
    rng = np.random.default_rng(p.seed)
    students, teacher = [_layers(p, rng, p.hidden) for _ in range(p.seeds)], _layers(p, rng, p.teacher_hidden)
    batch = DiagonalSSM(*(np.stack(x) for x in zip(*(s.arrays for s in students), strict=True)))
    rules = _rules(p, rng)
    values, losses, readouts = [], [], []
    for kind in p.kinds:
        for rule in rules:
            curve = learn(rule, batch, teacher, duration=p.duration, method=Flow(rtol=1e-3, atol=1e-5), poles=kind)
            sigma = np.linalg.svd(np.asarray(curve.final.B) - np.asarray(batch.B), compute_uv=False)
            values.append(sigma / sigma[:, :1])
            of_C = np.linalg.svd(np.asarray(curve.final.C) - np.asarray(batch.C), compute_uv=False)
            readouts.append(of_C / of_C[:, :1])
            losses.append(curve.loss[:, -1] / curve.silent_loss)
    shape = (len(p.kinds), len(rules), p.seeds)
    distinct = np.repeat(np.arange(1, 4), p.draws)
    single = [_rank_of_one(p, rng, int(q)) for q in distinct]
    return xr.Dataset(
        {
            "change": (("poles", "rule", "seed", "index"), np.reshape(values, (*shape, -1))),
            "readout_change": (("poles", "rule", "seed", "readout_index"), np.reshape(readouts, (*shape, -1))),
            "equal_change": (
                ("poles", "seed", "index"),
                [_from_equal_poles(p, batch, teacher, kind) for kind in p.kinds],
            ),
            "loss": (("poles", "rule", "seed"), np.reshape(losses, shape)),
            "distinct": ("draw", distinct),
            "rank": ("draw", single),
        },
        {"poles": list(p.kinds), **rule_axis(rules)},
        {"outputs": p.outputs},
    )


def _from_equal_poles(p: Parameters, students: DiagonalSSM, teacher: DiagonalSSM, kind: str) -> np.ndarray:
    """Singular values of what layers whose poles are all one at first learn in B under BPTT."""
    poles = np.broadcast_to(np.asarray(students.poles)[:, :1], students.poles.shape)
    start = DiagonalSSM(students.C, poles, students.B)
    curve = learn(BPTT(), start, teacher, duration=p.duration, method=Flow(rtol=1e-3, atol=1e-5), poles=kind)
    sigma = np.linalg.svd(np.asarray(curve.final.B) - np.asarray(start.B), compute_uv=False)
    return np.asarray(sigma / sigma[:, :1])


def _rank_of_one(p: Parameters, rng: Any, distinct: int) -> int:
    """The rank of one update of B under BPTT, of a layer with so many distinct poles."""
    update = expected_update(BPTT(), _layers(p, rng, p.hidden, distinct), _layers(p, rng, p.teacher_hidden))
    sigma = np.linalg.svd(np.asarray(update.B), compute_uv=False)
    return int(np.sum(sigma > _EXACT * sigma[0]))


def _numerical_rank(data: xr.Dataset, key: str, tolerance: float) -> xr.DataArray:
    return (data.change.sel(rule=key) > tolerance).sum("index")


def claims(data: xr.Dataset) -> list[Claim]:
    """Where the bound holds, and where not; the bounds are those of the module's head."""
    equal, readout = (data.equal_change > _LEARNED).sum("index"), (data.readout_change > _LEARNED).sum("readout_index")
    outputs, surplus = data.attrs["outputs"], data["rank"] - data.distinct * data.attrs["outputs"]
    own = [_numerical_rank(data, key, _LEARNED).min() for key in (BPTT().key, EProp(0.0).key)]
    return [
        Claim.at_most(
            "state-space.one-decay",
            "theory, section 11",
            "With RFLO's one decay all that a layer learns in B has rank at most the outputs, 2, for every "
            "parametrisation (largest, at 1e-10)",
            outputs,
            _numerical_rank(data, RFLO(0.0, 0.5).key, _EXACT).max(),
        ),
        Claim.at_most(
            "state-space.two-decays",
            "theory, section 11",
            "With two constant decays it has rank at most twice the outputs, 4 (largest, at 1e-10)",
            2 * outputs,
            _numerical_rank(data, "two-decays", _EXACT).max(),
        ),
        Claim.at_least(
            "state-space.own-poles",
            "theory, section 11",
            "With the layer's own poles in the trace, BPTT and e-prop learn more: the bound does not carry over "
            "(least rank, at 1e-6)",
            outputs + 1,
            min(own),
        ),
        Claim.at_most(
            "state-space.distinct",
            "theory, section 11",
            "In a layer of q distinct poles one update of B under BPTT has rank at most q times the outputs "
            "(largest surplus)",
            0,
            surplus.max(),
        ),
        Claim.at_least(
            "state-space.equal-poles",
            "theory, section 11",
            "Over learning that is no bound: layers whose poles are all one at first learn more than the outputs' rank "
            "under BPTT, for the poles move apart (least rank, at 1e-6)",
            outputs + 1,
            equal.min(),
        ),
        Claim.at_least(
            "state-space.readout",
            "theory, section 11",
            "Of C every rule learns the outputs' rank, the most there is, so that it does not tell rules apart (least "
            "rank, at 1e-6, over all rules and parametrisations)",
            outputs,
            readout.min(),
        ),
        Claim.equal(
            "state-space.attained",
            "new: measured",
            "The rank q times the outputs is attained, for q of 1, 2, 3 (share of random layers)",
            1.0,
            (surplus == 0).mean(),
            tolerance=0,
        ),
    ]


def table(data: xr.Dataset) -> list[list[str]]:
    """For each rule and parametrisation the ranks and what is left of the loss."""
    rows = [["rule", "poles", "rank at 1e-10", "rank at 1e-2", "loss left (median)"]]
    for key in data.rule.values:
        for kind in data.poles.values:
            ranks = [_numerical_rank(data, key, tolerance).sel(poles=kind).values for tolerance in (_EXACT, 1e-2)]
            words = [f"{x.min()} to {x.max()}" if x.min() < x.max() else str(x.min()) for x in ranks]
            loss = float(data.loss.sel(rule=key, poles=kind).median())
            rows.append([name_of(data, key), str(kind), *words, f"{loss:.3f}"])
    return rows


def draw(data: xr.Dataset) -> Figure:
    """What is learned in B, by singular value; and the ranks of single updates."""
    figure, axes = new_figure(columns=2, height=3.1)
    index = np.arange(1, data.sizes["index"] + 1)
    for key in data.rule.values:
        middle = data.change.sel(rule=key).median(("seed", "poles"))
        shown = np.where(middle > _EXACT, middle, np.nan)  # what is below is rounding
        axes[0].semilogy(index, shown, **rule_style(str(key)), label=name_of(data, key))
    axes[0].axvline(data.attrs["outputs"] + 0.5, color="0.6", linewidth=0.8)
    axes[0].set(xlabel="singular value of the change of B", ylabel="size over the largest")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=data.sizes["rule"])
    bound = data.distinct * data.attrs["outputs"]
    axes[1].plot([0, bound.max()], [0, bound.max()], color="0.6", linewidth=0.8)
    axes[1].plot(bound, data["rank"], "o", color="black")
    axes[1].set(xlabel="distinct poles × outputs", ylabel="rank of one update of B (BPTT)")
    label_panels(axes)
    return figure


EXPERIMENT = Experiment(
    name="state-space",
    title="State-space layers: the verdict on rank",
    question="Does the bound on the rank of what is learned carry over to diagonal state-space layers?",
    parameters=Parameters(),
    quick=Parameters(seeds=2, kinds=("direct", "lru"), draws=4),
    compute=compute,
    claims=claims,
    describe={
        "change": "singular values of what was learned in B over the largest",
        "readout_change": "singular values of what was learned in C over the largest",
        "equal_change": "singular values of what is learned in B from equal poles under BPTT over the largest",
        "loss": "loss at the end over that of a silent layer",
        "distinct": "number of distinct poles",
        "rank": "rank of one update of B under BPTT at 1e-10",
        "poles": "parametrisation of the poles",
        "rule": "rule",
        "rule_name": "name of the rule",
    },
    figures=(
        FigureSpec(
            "state-space-rank",
            draw,
            "A: Singular values of what layers of 8 units, 6 inputs and 2 outputs have learned in B, the median over "
            "students and parametrisations; the upright line marks the number of outputs. Values that are 0 but for "
            "rounding are left out. B: Rank of single updates under BPTT where only some poles are distinct, several "
            "random layers a point; the line is the bound.",
        ),
    ),
    table=table,
    table_caption="Least and largest rank of the change of B over the students, and the loss left, in units of a "
    "silent layer's; above 1 where learning has run away.",
)
