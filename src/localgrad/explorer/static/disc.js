// Eigenvalues in the unit disc, with the way they came and the teacher's as crosses.

import { html, line, linear, svg } from "./elements.js";

export class Disc {
  constructor({ height = 190 } = {}) {
    this.height = height;
    this.svg = svg("svg", { role: "img", "aria-label": "eigenvalues of W in the unit disc" });
    this.element = html("div", { class: "plot" }, this.svg);
    new ResizeObserver(() => this.last && this.draw(this.last)).observe(this.element);
  }

  draw(content) {
    this.last = content;
    const { trails, at, teacher } = content;
    const width = this.element.clientWidth || 360, { height } = this;
    const radius = height / 2 - 12, middle = width / 2;
    const X = linear(-1, 1, middle - radius, middle + radius), Y = linear(-1, 1, height / 2 + radius, height / 2 - radius);
    const ways = trails.map(([re, im]) => svg("path", { d: line(re.subarray(0, at + 1), im.subarray(0, at + 1), X, Y) }));
    const now = trails.map(([re, im]) => svg("circle", { cx: X(re[at]), cy: Y(im[at]), r: 4.5 }));
    const crosses = teacher.map((w) => svg("path", { d: `M${X(w) - 5} ${Y(0) - 5}l10 10m0 -10l-10 10` }));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    this.svg.replaceChildren(
      svg("circle", { cx: X(0), cy: Y(0), r: radius, fill: "#fff", stroke: "#9a9da3" }),
      svg("path", { d: `M${X(-1)} ${Y(0)}H${X(1)}M${X(0)} ${Y(-1)}V${Y(1)}`, stroke: "#ededE8" }),
      svg("g", { fill: "#646870", "font-size": 12, "font-family": "system-ui, sans-serif" },
        svg("text", { x: X(1) + 6, y: Y(0) + 4 }, "1"), svg("text", { x: X(-1) - 6, y: Y(0) + 4, "text-anchor": "end" }, "−1")),
      svg("g", { fill: "none", stroke: "#0072b2", "stroke-opacity": 0.35, "stroke-width": 1.5 }, ...ways),
      svg("g", { stroke: "#d55e00", "stroke-width": 2 }, ...crosses),
      svg("g", { fill: "#0072b2", stroke: "#fff", "stroke-width": 1.5, "data-now": "" }, ...now),
    );
  }
}
