"""A network without modes of its own: where its eigenvalues lie, and how far each rule points along BPTT."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from localgrad.figures.plotting import BLUE, GREY, label_panels, new_figure, rule_style, zero_line


def draw_directions(data: Any) -> Figure:
    """Eigenvalues in the complex plane with the unit circle, and cosines with BPTT's update, a student a marker.

    **Arguments:** `data`: a dataset with `cosine` over `rule` and `student`, `rule_name` over `rule`, and `real_part`
    and `imaginary_part` over `eigenvalue`.
    """
    figure, (plane, cosines) = new_figure(1, 2, height=3.4)
    angle = np.linspace(0, 2 * np.pi, 200)
    plane.plot(np.cos(angle), np.sin(angle), color=GREY, linewidth=0.8)
    plane.plot(data.real_part, data.imaginary_part, "o", color=BLUE, markersize=3)
    plane.set(xlabel="real part of an eigenvalue of W", ylabel="imaginary part", aspect="equal")
    for place, rule in enumerate(data.rule.values):
        values = data.cosine.sel(rule=rule)
        look = rule_style(str(rule)) | {"linestyle": ""}
        cosines.plot(np.full(values.size, place), values, **look)
        cosines.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color=look["color"], linewidth=1)
    zero_line(cosines)
    cosines.set_xticks(range(data.sizes["rule"]), [str(name) for name in data.rule_name.values])
    cosines.tick_params(axis="x", rotation=20)
    cosines.set(ylabel="cosine with BPTT's update", xlim=(-0.5, data.sizes["rule"] - 0.5))
    label_panels((plane, cosines))
    return figure
