// A small chart: axes with few ticks, curves that are told apart by colour and dash.

import { decades, html, line, linear, logarithmic, powerOfTen, short, svg, ticks } from "./elements.js";

export class Chart {
  constructor({ height = 190, xlabel, ylabel, label }) {
    Object.assign(this, { height, xlabel, ylabel });
    this.svg = svg("svg", { role: "img", "aria-label": label ?? `${ylabel} over ${xlabel}` });
    this.element = html("div", { class: "plot" }, this.svg);
    new ResizeObserver(() => this.last && this.draw(this.last)).observe(this.element);
  }

  draw(content) {
    this.last = content;
    const { x, y, curves, marks = [], cursor, zero } = content;
    const width = this.element.clientWidth || 360, height = this.height;
    const [left, right, top, bottom] = [50, width - 12, 8, height - 36];
    const X = (x.log ? logarithmic : linear)(x.low, x.high, left, right);
    const Y = (y.log ? logarithmic : linear)(y.low, y.high, bottom, top);
    const axis = (s, count) => (s.log ? decades(s.low, s.high).map((v) => [v, (s.sign ?? "") + powerOfTen(v)]) :
      ticks(s.low, s.high, count).map((v) => [v, short(v)]));
    const grid = [], words = [];
    for (const [v, text] of axis(x, 5)) {
      words.push(svg("text", { x: X(v), y: bottom + 16, "text-anchor": "middle" }, text));
      grid.push(svg("path", { d: `M${X(v).toFixed(1)} ${top}V${bottom}` }));
    }
    for (const [v, text] of axis(y, 4)) {
      words.push(svg("text", { x: left - 6, y: Y(v) + 4, "text-anchor": "end" }, text));
      grid.push(svg("path", { d: `M${left} ${Y(v).toFixed(1)}H${right}` }));
    }
    words.push(svg("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, this.xlabel));
    words.push(svg("text", { x: 10, y: (top + bottom) / 2, "text-anchor": "middle",
      transform: `rotate(-90 10 ${(top + bottom) / 2})` }, this.ylabel));
    const clip = `clip-${this.ylabel.replaceAll(/\W/g, "")}`;
    const drawn = curves.map((c) => svg("path", { d: line(c.x, c.y, X, Y), stroke: c.color, "stroke-width": c.width ?? 2,
      "stroke-dasharray": c.dash, "stroke-opacity": c.faint ? 0.4 : undefined, "stroke-linejoin": "round", fill: "none" }));
    if (zero) drawn.unshift(svg("path", { d: `M${left} ${Y(0).toFixed(1)}H${right}`, stroke: "#9a9da3" }));
    if (cursor !== undefined) drawn.unshift(svg("path", { d: `M${X(cursor).toFixed(1)} ${top}V${bottom}`, stroke: "#1d1f23", "stroke-opacity": 0.5 }));
    const dots = marks.map((m) => svg("circle", { cx: X(m.x), cy: Y(m.y), r: 4, fill: m.color, stroke: "#fff" }));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    this.svg.replaceChildren(
      svg("clipPath", { id: clip }, svg("rect", { x: left, y: top, width: right - left, height: bottom - top })),
      svg("g", { stroke: "#ededE8", "stroke-width": 1 }, ...grid),
      svg("path", { d: `M${left} ${top}V${bottom}H${right}`, stroke: "#9a9da3", fill: "none" }),
      svg("g", { fill: "#646870", "font-size": 12, "font-family": "system-ui, sans-serif" }, ...words),
      svg("g", { "clip-path": `url(#${clip})` }, ...drawn, ...dots),
    );
  }
}
