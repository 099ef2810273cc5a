"""Basins of attraction: from which starts does each rule reach which branch, stall, or diverge?"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from localgrad.figures.plotting import label_panels, new_figure
from localgrad.models.aligned import Mode
from localgrad.modes.basins import basins
from localgrad.outcomes import Outcome
from localgrad.reproduction.axes import name_of, rule_axis
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.basin_maps import draw_slice, kinds, legend_handles, teacher_of
from localgrad.rules.presets import paper_rules
from localgrad.rules.rule import Rule


@dataclass(frozen=True)
class Parameters:
    """Two slices through the space of starts: `a × b` at `w = 0`, and `a × w` at `b = 1`."""

    teacher: tuple[float, float, float] = (1.0, 1.0, 0.8)
    feedback: float = 1.0
    decay: float = 0.5
    reach: float = 3.0
    grid: int = 400
    duration: float = 1000.0


def _rules(p: Parameters) -> list[Rule]:
    return paper_rules(p.feedback, p.decay)


def compute(p: Parameters) -> xr.Dataset:
    """Both slices under three rules."""
    # An even number of points: none lies on a = 0 or b = 0.
    side, inside, teacher = np.linspace(-p.reach, p.reach, p.grid), np.linspace(-0.98, 0.98, p.grid), Mode(*p.teacher)
    slices = {
        "ab": [basins(rule, teacher, b=side, a=side, w=0.0, duration=p.duration) for rule in _rules(p)],
        "aw": [basins(rule, teacher, a=side, b=1.0, w=inside, duration=p.duration) for rule in _rules(p)],
    }
    rule = xr.DataArray([r.key for r in _rules(p)], dims="rule", name="rule")
    joined = {name: xr.concat(maps, dim=rule).drop_attrs() for name, maps in slices.items()}
    renamed = [data.drop_vars(["a", "b", "w"], errors="ignore").rename(
        {v: f"{v}_{name}" for v in data.data_vars}) for name, data in joined.items()]  # fmt: skip
    return xr.merge(renamed).assign_coords(a=side, b=side, w=inside, **rule_axis(_rules(p)))


def _slice(data: xr.Dataset, name: str, fixed: dict[str, float]) -> xr.Dataset:
    """One of the two maps, as `modes.basins` made it; rows are the vertical axis."""
    names = {f"{v}_{name}": v for v in ("outcome", "branch", "time", "path_length", "peak_loss")}
    found = data[list(names)].rename(names).drop_vars(list(fixed), errors="ignore").assign_coords(fixed)
    return found.transpose("rule", name[1], name[0])


def claims(data: xr.Dataset) -> list[Claim]:
    """What the maps show."""
    ab = _slice(data, "ab", {"w": 0.0})
    bptt, tbptt, rflo = (ab.sel(rule=rule.key) for rule in _rules(Parameters()))
    side = np.sign((bptt.a + bptt.b).round(9))  # a ↔ b is a symmetry of BPTT, so a + b = 0 is never crossed
    inward = rflo.where(rflo.a > 0)
    diverged = (inward.outcome == Outcome.DIVERGED).where(inward.outcome.notnull())
    return [
        Claim.equal(
            "basins.bptt-converges",
            "theory, section 8",
            "BPTT converges from every start of the slice w = 0 (share)",
            1,
            (bptt.outcome == Outcome.CONVERGED).mean(),
            tolerance=0,
        ),
        Claim.equal(
            "basins.bptt-branch",
            "new: a ↔ b is a symmetry of BPTT",
            "BPTT ends on the branch that has the sign of a + b (share of starts that agree, the line a + b = 0 "
            "itself left out)",
            1,
            (bptt.branch == side).where(side != 0).mean(),
            tolerance=0,
        ),
        Claim.at_least(
            "basins.tbptt-like-bptt",
            "new: measured",
            "tBPTT(1) reaches the same branch as BPTT (share of starts)",
            0.95,
            (tbptt.branch == bptt.branch).mean(),
        ),
        Claim.equal(
            "basins.rflo-branch",
            "theory, section 7",
            "RFLO never ends on the branch where âs < 0 (share of starts that do)",
            0,
            (rflo.branch < 0).mean(),
            tolerance=0,
        ),
        Claim.at_least(
            "basins.rflo-diverges",
            "theory, section 8",
            "RFLO diverges from part of the slice (share of starts)",
            0.01,
            (rflo.outcome == Outcome.DIVERGED).mean(),
        ),
        Claim.at_least(
            "basins.rflo-diverges-inward",
            "new: measured",
            "RFLO diverges from some starts with âa > 0, too (share of these)",
            0.01,
            diverged.mean(),
        ),
    ]


def draw(data: xr.Dataset) -> Figure:
    """Two rows of slices, a column a rule."""
    figure, axes = new_figure(2, 3, height=5.4, sharex=True, sharey="row")
    slices = (_slice(data, "ab", {"w": 0.0}), _slice(data, "aw", {"b": 1.0}))
    for row, maps in zip((axes[:3], axes[3:]), slices, strict=True):
        for ax, rule in zip(row, data.rule.values, strict=True):
            draw_slice(ax, maps.sel(rule=rule), teacher_of(data))
    for ax, rule in zip(axes[:3], data.rule.values, strict=True):
        ax.set(title=name_of(data, rule), xlabel="")
    for ax in axes[[1, 2, 4, 5]]:
        ax.set_ylabel("")
    present = np.unique(np.concatenate([kinds(maps).values.ravel() for maps in slices]))
    figure.legend(handles=legend_handles(present), loc="outside lower center", ncols=len(present))
    label_panels(axes)
    return figure


EXPERIMENT = Experiment(
    name="basins",
    title="Basins of attraction",
    question="From which starts does each rule reach which branch, stall, or diverge?",
    parameters=Parameters(),
    quick=Parameters(grid=150),
    compute=compute,
    claims=claims,
    describe={
        "rule": "rule",
        "rule_name": "name of the rule",
        "a": "readout a at the start",
        "b": "input weight b at the start",
        "w": "recurrent weight w at the start",
        **{
            f"{variable}_{plane}": f"{words}, for starts in the plane of {plane[0]} and {plane[1]}{unit}"
            for plane in ("ab", "aw")
            for variable, words, unit in (
                ("outcome", "how learning ended, a code of Outcome", ""),
                ("branch", "sign of a where it converged, else 0", ""),
                ("time", "learning time to the end", " [learning time]"),
                ("path_length", "length of the way through (a, b, w)", ""),
                ("peak_loss", "largest loss on the way, over the initial loss", ""),
            )
        },
    },
    figures=(
        FigureSpec(
            "basins",
            draw,
            "Where learning ends, by where it starts (teacher (1, 1, 0.8); RFLO with â = 1, ŵ = 0.5); paler: slower. "
            "A–C: slice w = 0; white: the optimal manifold, seen along w; red: the non-optimal line, end-on. D–F: "
            "slice b = 1; black: the planes |w| = 1; star: the optimal solution. The line a + b = 0 parts BPTT's "
            "basins; RFLO reaches one branch only, and diverges from much of the rest.",
        ),
    ),
)
