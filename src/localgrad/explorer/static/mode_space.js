// Mode space: the map of endings, paths through it from one start, and the loss on the way.

import { contour } from "./contours.js";
import { Chart } from "./chart.js";
import { html, line, linear, short, svg, ticks } from "./elements.js";

const MARGIN = { left: 46, right: 10, top: 8, bottom: 44 };
const SYMBOLS = { a: "readout a", b: "input weight b", w: "recurrent weight w" };

export class ModeSpace {
  constructor({ store, connection, controls, spec }) {
    Object.assign(this, { store, connection, spec, kinds: ["basin", "landscape", "paths"] });
        this.palette = new Uint32Array(new Uint8Array(spec.palette).buffer);
    this.controls = this.makeControls(controls);
    this.figure = this.makeFigure();
    this.side = this.makeSide();
    connection.on("basin", (header, arrays) => this.showMap(header, arrays));
    connection.on("landscape", (header, arrays) => this.showLandscape(header, arrays));
    connection.on("paths", (header, arrays) => this.showPaths(header, arrays));
    new ResizeObserver(() => this.layout()).observe(this.plot);
  }

  // --- what is asked of the server ---

  ask(names, rest) {
    const only = (...known) => names.size > 0 && [...names].every((name) => known.includes(name));
    const { state } = this.store;
    if (rest || !only("start_a", "start_b", "start_w", "compare", "over")) {
      this.connection.ask("basin", state, rest);
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => { this.detail.textContent = "computing; new kinds of rules are compiled first …"; }, 1500);
      this.connection.ask("landscape", state, rest);
    }
    if (!only("plane", "fixed", "extent")) this.connection.ask("paths", state, rest);
    this.layout();
  }

  // --- controls ---

  makeControls(c) {
    const planes = this.spec.planes;
    const words = Object.fromEntries(Object.entries(planes).map(([name, [x, y]]) => [name, `${x}, ${y}`]));
    const held = (plane, state) => ({ fixed: Number(state[`start_${planes[plane][2]}`].toFixed(2)) });
    const away = (poles, state) => (poles === "lru" && state.start_w <= 0 ? { start_w: 0.5, ...(state.plane === "ab" ? { fixed: 0.5 } : {}) } : {});
    const heldBounds = (s) => (planes[s.plane]?.[2] !== "w" ? [-3, 3] : s.poles === "lru" ? [0.01, 0.99] : [-0.99, 0.99]);
    return [
      c.section("Rule", c.presets(),
        c.slider("feedback_share"),
        c.slider("feedback", { usable: (s) => s.feedback_share > 0 }),
        c.slider("propagator_share"),
        c.slider("decay", { usable: (s) => s.propagator_share > 0 && s.lags !== 1 }),
        c.slider("lags"), c.slider("delay"),
        c.choice("poles", {}, away)),
      c.section("Teacher", c.slider("teacher_a"), c.slider("teacher_b"), c.slider("teacher_w")),
      c.section("Plane of starts", c.choice("plane", words, held),
        c.slider("fixed", { label: (s) => `${planes[s.plane]?.[2]} held at`, bounds: heldBounds }),
        c.slider("extent"), c.choice("over", { "rest points": "fixed points" })),
      c.section("Paths beside it", c.compared()),
    ];
  }

  // --- the picture ---

  makeFigure() {
    this.canvas = html("canvas", { width: 64, height: 64, "data-map": "" });
    this.overlay = svg("svg", { role: "application", tabindex: 0,
      "aria-label": "Map of starts. Arrow keys move the start of the paths." });
    this.plot = html("div", { class: "plot" }, this.canvas, this.overlay);
    this.title = html("span", { class: "title" });
    this.detail = html("span", { class: "quiet" });
    this.legend = html("div", { class: "legend" });
    this.note = html("p", { class: "hint note" });
    this.refusal = html("div", { class: "refusal", role: "alert", hidden: true });
    this.plot.append(this.refusal);
    const drag = (event, rest) => {
      const box = this.overlay.getBoundingClientRect();
      this.moveStart(this.x.back(event.clientX - box.left), this.y.back(event.clientY - box.top), rest);
    };
    this.overlay.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.overlay.setPointerCapture(event.pointerId);
      this.dragging = true;
      drag(event, false);
    });
    this.overlay.addEventListener("pointermove", (event) => this.dragging && drag(event, false));
    const end = (event) => { if (this.dragging) { this.dragging = false; drag(event, true); } };
    this.overlay.addEventListener("pointerup", end);
    this.overlay.addEventListener("pointercancel", () => { this.dragging = false; });
    this.overlay.addEventListener("keydown", (event) => this.key(event));
    return [html("div", { class: "figure-head" }, this.title, this.detail), this.plot, this.legend, this.note];
  }

  get axes() {
    const { state } = this.store;
    const [across, up, held] = this.spec.planes[state.plane] ?? this.spec.planes.ab;
    const reach = (name) => (name === "w" ? [state.poles === "lru" ? 0 : -1, 1] : [-state.extent, state.extent]);
    return { across, up, held, xs: reach(across), ys: reach(up) };
  }

  moveStart(x, y, rest) {
    const { across, up, held } = this.axes;
    const { fields } = this.spec;
    const rounded = (name, value) => {
      const field = fields[`start_${name}`];
      return Number(Math.min(field.maximum, Math.max(field.minimum, value)).toFixed(3));
    };
    this.store.set({ [`start_${across}`]: rounded(across, x), [`start_${up}`]: rounded(up, y),
      [`start_${held}`]: this.store.state.fixed }, rest);
  }

  key(event) {
    const step = event.shiftKey ? 0.1 : 0.02;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const { across, up, xs, ys } = this.axes;
    const [dx, dy] = moves[event.key];
    const { state } = this.store;
    this.moveStart(state[`start_${across}`] + dx * step * (xs[1] - xs[0]) / 2, state[`start_${up}`] + dy * step * (ys[1] - ys[0]) / 2, true);
  }

  showMap(header, arrays) {
    clearTimeout(this.waiting);
    this.refuse(header.error);
    this.canvas.dataset.request = header.id;
    if (header.error) return;
    const { codes } = arrays;
    const [height, width] = codes.shape;
    if (this.canvas.width !== width) Object.assign(this.canvas, { width, height });
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = this.palette[codes[i]];
    this.canvas.getContext("2d").putImageData(image, 0, 0);
    Object.assign(this, { codes, header });
    this.canvas.dataset.count = header.count;
    this.code.textContent = header.snippet;
    this.legend.replaceChildren(...this.spec.outcomes.filter(({ name }) => header.shares[name] > 0).map(({ name, color }) =>
      html("span", {}, swatch(color), `${name} ${(100 * header.shares[name]).toFixed(1)} %`)),
      html("span", {}, "paler: slower"), html("span", {}, sample("#1d1f23", null), "fixed points, stable"),
      html("span", {}, sample("#1d1f23", "2 5"), "unstable"),
      html("span", {}, "thin lines: loss, by factors of 10 about a silent student’s"));
    this.detail.textContent = `${header.count} × ${header.count} starts`;
  }

  refuse(sentence) {
    this.refusal.hidden = !sentence;
    this.refusal.textContent = sentence ? sentence[0].toUpperCase() + sentence.slice(1) + "." : "";
    this.canvas.hidden = Boolean(sentence);
  }

  layout() {
    const { across, up, held, xs, ys } = this.axes;
    const width = this.plot.clientWidth;
    if (!width) return;
    const tallest = Math.max(280, window.innerHeight - 190);
    const side = Math.min(width - MARGIN.left - MARGIN.right, tallest - MARGIN.top - MARGIN.bottom);
    const full = side + MARGIN.left + MARGIN.right, height = side + MARGIN.top + MARGIN.bottom;
    const [left, top] = [MARGIN.left, MARGIN.top];
    this.x = linear(xs[0], xs[1], left, left + side);
    this.y = linear(ys[0], ys[1], top + side, top);
    this.box = { left, top, side, full, height };
    for (const [name, value] of [["left", left], ["top", top], ["width", side], ["height", side]]) this.canvas.style[name] = `${value}px`;
    this.overlay.setAttribute("viewBox", `0 0 ${full} ${height}`);
    this.overlay.setAttribute("width", full);
    this.overlay.setAttribute("height", height);
    const words = [];
    for (const v of ticks(xs[0], xs[1], 6)) words.push(svg("text", { x: this.x(v), y: top + side + 18, "text-anchor": "middle" }, short(v)),
      svg("path", { d: `M${this.x(v)} ${top + side}v4`, stroke: "#646870" }));
    for (const v of ticks(ys[0], ys[1], 6)) words.push(svg("text", { x: left - 8, y: this.y(v) + 4, "text-anchor": "end" }, short(v)),
      svg("path", { d: `M${left} ${this.y(v)}h-4`, stroke: "#646870" }));
    words.push(svg("text", { x: left + side / 2, y: height - 4, "text-anchor": "middle" }, SYMBOLS[across]));
    words.push(svg("text", { x: 11, y: top + side / 2, "text-anchor": "middle", transform: `rotate(-90 11 ${top + side / 2})` }, SYMBOLS[up]));
    this.over = svg("g", { "clip-path": "url(#map-clip)" });
    this.overlay.replaceChildren(
      svg("clipPath", { id: "map-clip" }, svg("rect", { x: left, y: top, width: side, height: side })),
      svg("g", { fill: "#646870", "font-size": 13, "font-family": "system-ui, sans-serif" }, ...words),
      svg("rect", { x: left, y: top, width: side, height: side, fill: "none", stroke: "#9a9da3" }),
      this.over,
    );
    this.title.textContent = `Where learning ends, ${held} = ${short(this.store.state.fixed)}`;
    this.drawOver();
  }

  drawOver() {
    if (!this.over) return;
    const { across, up } = this.axes;
    const { state } = this.store;
    const row = { a: 0, b: 1, w: 2 };
    const shapes = [...this.heights(), ...this.restPoints(row)];
    for (const path of [...(this.curves ?? [])].reverse()) {
      const n = path.points.length / 3;
      const part = (name) => path.points.subarray(row[name] * n, (row[name] + 1) * n);
      const d = line(part(across), part(up), this.x, this.y);
      const shared = { d, fill: "none", "stroke-linejoin": "round", "stroke-linecap": "round" };
      shapes.push(svg("path", { ...shared, stroke: "#fff", "stroke-width": path.width + 3, "stroke-opacity": 0.85 }),
        svg("path", { ...shared, stroke: path.color, "stroke-width": path.width, "stroke-dasharray": path.dash }));
      const [ex, ey] = [this.x(path.end[row[across]]), this.y(path.end[row[up]])];
      if (path.outcome !== "diverged") shapes.push(svg("circle", { cx: ex, cy: ey, r: 4.5, fill: path.color, stroke: "#fff", "stroke-width": 1.5 }));
    }
    shapes.push(svg("circle", { cx: this.x(state[`start_${across}`]), cy: this.y(state[`start_${up}`]), r: 7, fill: "#fff",
      stroke: "#1d1f23", "stroke-width": 2.5, "data-start": "" }));
    this.over.replaceChildren(...shapes);
  }

  showLandscape(header, arrays) {
    this.landscape = header.error ? null : { ...header, arrays };
    this.note.textContent = header.why ? `No fixed points are drawn: ${header.why}.` : "";
    this.drawOver();
  }

  // Contours of the loss, in steps of about 3 about that of a silent student.
  heights() {
    if (!this.landscape || this.store.state.over !== "all") return [];
    const { loss } = this.landscape.arrays;
    const [rows, columns] = loss.shape;
    const { left, top, side } = this.box;
    const X = (c) => left + ((c + 0.5) / columns) * side, Y = (r) => top + ((r + 0.5) / rows) * side;
    return [0.01, 0.1, 1, 10, 100].map((times) => svg("path", { d: contour(loss, loss.shape, times * this.landscape.silent_loss, X, Y),
      fill: "none", stroke: "#1d1f23", "stroke-opacity": 0.3, "stroke-width": times === 1 ? 1.6 : 0.8 }));
  }

  // Fixed points: whole lines are stable, broken ones are not; a diamond where a curve crosses the plane.
  restPoints(row) {
    if (!this.landscape || this.store.state.over === "nothing") return [];
    const { across, up, held } = this.axes;
    const { arrays, curves } = this.landscape;
    const shapes = [];
    curves.forEach((curve, place) => {
      const points = arrays[`points${place}`], stable = arrays[`stable${place}`], n = stable.length;
      const part = (name) => points.subarray(row[name] * n, (row[name] + 1) * n);
      const xs = part(across), ys = part(up), away = part(held).map((v) => v - this.store.state.fixed);
      const isPoint = Math.hypot(this.x(xs[0]) - this.x(xs[n - 1]), this.y(ys[0]) - this.y(ys[n - 1])) < 1;
      for (let from = 0; from + 1 < n;) {
        let to = from;
        while (to + 1 < n && stable[to + 1] === stable[from]) to++;
        const d = line(xs.subarray(from, Math.min(n, to + 2)), ys.subarray(from, Math.min(n, to + 2)), this.x, this.y);
        const dash = stable[from] ? null : "2 5";
        if (!isPoint) shapes.push(svg("path", { d, fill: "none", stroke: "#fff", "stroke-width": 4.5, "stroke-opacity": 0.75 }),
          svg("path", { d, fill: "none", stroke: "#1d1f23", "stroke-width": 1.8, "stroke-dasharray": dash, "stroke-linecap": "round" }));
        from = to + 1;
      }
      for (let i = 0; i + 1 < n; i++) {
        if (!(away[i] === 0 || away[i] * away[i + 1] < 0)) continue;
        const t = away[i] === away[i + 1] ? 0 : away[i] / (away[i] - away[i + 1]);
        const [px, py] = [this.x(xs[i] + t * (xs[i + 1] - xs[i])), this.y(ys[i] + t * (ys[i + 1] - ys[i]))];
        if (away[0] === 0 && away[n - 1] === 0) break;
        shapes.push(svg("path", { d: `M${px} ${py - 6}l6 6l-6 6l-6 -6z`, fill: stable[i] ? "#1d1f23" : "#fff", stroke: stable[i] ? "#fff" : "#1d1f23", "stroke-width": 1.8 }));
      }
    });
    return shapes;
  }

  // --- beside it ---

  makeSide() {
    this.chart = new Chart({ xlabel: "learning time", ylabel: "loss" });
    this.table = html("table", { id: "paths" });
    this.from = html("p", { class: "hint" }, "computing …");
    this.code = html("code", {});
    return [
      html("section", { class: "card" }, html("h2", {}, "From this start"), this.from, this.chart.element, this.table),
      html("section", { class: "card" }, html("h2", {}, "The same in Python"), html("pre", {}, this.code)),
    ];
  }

  showPaths(header, arrays) {
    const { state } = this.store;
    this.from.textContent = `(a, b, w) = (${["a", "b", "w"].map((x) => short(state[`start_${x}`])).join(", ")}). Drag it in the map.`;
    if (header.error) {
      this.curves = [];
      this.table.replaceChildren(html("tr", {}, html("td", {}, header.error)));
      this.drawOver();
      return;
    }
    this.curves = header.found.map((found) => ({ ...found, points: arrays[`path${found.place}`], loss: arrays[`loss${found.place}`],
      width: found.place === 0 ? 3.5 : 2 }));
    const time = arrays.time;
    const positive = this.curves.flatMap(({ loss }) => [...loss].filter((x) => x > 0 && Number.isFinite(x)));
    const top = Math.max(...positive, 1e-3), last = Math.max(...this.curves.map((c) => c.time), 1);
    this.chart.draw({
      x: { low: 1e-2, high: Math.min(state.duration, 10 ** Math.ceil(Math.log10(last * 1.5))), log: true },
      y: { low: Math.max(top * 1e-8, 1e-7 * Math.min(1, top)), high: top * 2, log: true },
      curves: [...this.curves].reverse().map((c) => {
        const until = c.outcome === "diverged" ? [...time].findIndex((t) => t > c.time) : time.length;
        const count = until < 0 ? time.length : until;
        return { x: time.subarray(0, count), y: c.loss.subarray(0, count), color: c.color, dash: c.dash, width: c.width };
      }),
    });
    const rows = this.curves.map((c) => html("tr", {},
      html("td", {}, lineSample(c), c.rule),
      html("td", {}, c.outcome + (c.branch ? (c.branch > 0 ? ", s > 0" : ", s < 0") : "")),
      html("td", {}, short(c.time)), html("td", {}, short(c.length)), html("td", {}, c.peak === null ? "∞" : `${short(c.peak)}×`)));
    for (const { rule, why } of header.refused) rows.push(html("tr", {}, html("td", {}, rule), html("td", { colspan: 4 }, why)));
    this.table.replaceChildren(html("tr", {}, ...["rule", "ends", "time", "way", "peak loss"].map((word) => html("th", {}, word))), ...rows);
    this.drawOver();
  }
}

const swatch = (color) => svg("svg", { width: 18, height: 12, viewBox: "0 0 18 12" }, svg("rect", { width: 12, height: 12, rx: 3, fill: color }));
const sample = (stroke, dash) => svg("svg", { width: 24, height: 10, viewBox: "0 0 24 10" },
  svg("path", { d: "M1 5H20", stroke, "stroke-width": 1.8, "stroke-dasharray": dash, "stroke-linecap": "round" }));
const lineSample = ({ color, dash, width }) => svg("svg", { width: 26, height: 10, viewBox: "0 0 26 10" },
  svg("path", { d: "M0 5H22", stroke: color, "stroke-width": width, "stroke-dasharray": dash }));
