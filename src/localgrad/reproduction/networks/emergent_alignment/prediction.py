"""What the prediction by mode equations comes to: claims, numbers and the table."""

import xarray as xr

from localgrad.reproduction.axes import name_of
from localgrad.reproduction.experiment import Claim
from localgrad.reproduction.networks.emergent_alignment.modes import (
    EQUATIONS,
    LOCAL,
    OWN,
    SEPARATING,
    WITHOUT_PROPAGATOR,
)


def _typical_error(data: xr.Dataset) -> xr.DataArray:
    """Median over students and modes of the largest later error: "rule equations"."""
    return data.error.median(("student", "mode"))


def _own_by_mode(data: xr.Dataset) -> xr.DataArray:
    """The median error of the own equations for BPTT, tBPTT(1) and RFLO with either R: "rule mode"."""
    rules = (*SEPARATING, LOCAL)
    own = [data.error.sel(rule=rule, equations=OWN[rule], drop=True).median("student") for rule in rules]
    return xr.concat(own, "rule")


def prediction_numbers(data: xr.Dataset) -> dict[str, float]:
    """Errors of the other modes, and how far gains still had to go."""
    sampled = data.sampled_error.median("sampled_student").isel(mode=slice(2, None))
    return {"weaker": float(_own_by_mode(data).isel(mode=slice(2, None)).max()), "weaker-sampled": float(sampled.max())}


def prediction_claims(data: xr.Dataset) -> list[Claim]:
    """Networks follow the equations of their own rule, and how closely; e-prop's do not."""
    errors = _typical_error(data)
    own = {rule: float(errors.sel(rule=rule, equations=OWN[rule])) for rule in OWN}
    others = {rule: [e for e in EQUATIONS[:4] if e != OWN[rule]] for rule in SEPARATING}
    rivals = {rule: float(errors.sel(rule=rule, equations=others[rule]).min()) for rule in SEPARATING}
    without = {r: float(errors.sel(rule=r, equations=e)) for r, e in WITHOUT_PROPAGATOR.items()}
    return [
        Claim.at_least(
            "emergent-alignment.own-equations",
            "theory, section 4",
            "After the transient networks under BPTT, tBPTT(1) and RFLO with an orthonormal R follow the mode "
            "equations of their own rule more closely than another's (median error of the best other rule's over that "
            "of the own, least of 3)",
            1.0,
            min(rivals[rule] / own[rule] for rule in SEPARATING),
        ),
        Claim.at_most(
            "emergent-alignment.error",
            "new: measured",
            "The own mode equations predict the gain a_k b_k to 5 % of a*_k b*_k, also under RFLO with a Gaussian R "
            "(largest later error, median over students and modes, worst of four)",
            0.05,
            max(own[rule] for rule in (*SEPARATING, LOCAL)),
        ),
        Claim.at_most(
            "emergent-alignment.dominant",
            "paper, emergent alignment",
            "After the transient the mode equations predict the two dominant modes (largest later error of the gain, "
            "relative to a*_k b*_k, median over students, worst of BPTT, tBPTT(1) and RFLO with either R)",
            0.05,
            _own_by_mode(data).isel(mode=slice(0, 2)).max(),
        ),
        Claim.at_most(
            "emergent-alignment.sampled",
            "paper, emergent alignment",
            "They predict the two dominant modes in sampled training too, under BPTT, tBPTT(1) and RFLO with an "
            "orthonormal R, with half of the critical learning rate of BPTT's fastest mode",
            0.05,
            data.sampled_error.median("sampled_student").isel(mode=slice(0, 2)).max(),
        ),
        Claim.at_least(
            "emergent-alignment.e-prop",
            "new: measured",
            "e-prop, whose modes do not separate in generic frames, is better described with m = 0 than by its own "
            "equations, m = w (error of the latter over that of the former, lesser of symmetric and random)",
            1.0,
            min(own[rule] / without[rule] for rule in WITHOUT_PROPAGATOR),
        ),
    ]


def table(data: xr.Dataset) -> list[list[str]]:
    """Networks against the mode equations of every rule."""
    errors = _typical_error(data)
    names = [str(name) for name in data.equations_name.values]
    rows = [["network", "transient ends", "gain still to come", *names, "w, own", "largest final loss"]]
    for key in map(str, data.rule.values):
        one = data.sel(rule=key)
        later = one.sel(time=slice(one.transient - 1e-9, None))
        to_come = abs(later.gain - later.gain.isel(time=0)).max("time").median()
        error_of_w = abs(later.mode_w - later.w).max("time").median()
        shown = [f"{x:.1%}{' (own)' * (e == OWN[key])}" for e, x in zip(EQUATIONS, errors.sel(rule=key), strict=True)]
        start, loss = f"{float(one.transient):.2f}", f"{float(one.final_loss.max()):.0e}"
        rows.append([name_of(data, key), start, f"{float(to_come):.0%}", *shown, f"{float(error_of_w):.1%}", loss])
    return rows
