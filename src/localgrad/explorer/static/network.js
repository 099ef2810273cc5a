// A network as it learns: loss, eigenvalues, singular values, alignment and modes at every moment of its course.

import { Chart } from "./chart.js";
import { Disc } from "./disc.js";
import { html, short, svg } from "./elements.js";

const PLAYED = 6000; // milliseconds for the whole course

export class Network {
  constructor({ store, connection, controls, spec }) {
    Object.assign(this, { store, connection, spec, kinds: ["network"] });
    this.controls = this.makeControls(controls);
    this.figure = this.makeFigure();
    this.side = this.makeSide();
    connection.on("network", (header, arrays) => this.take(header, arrays));
  }

  // --- what is asked of the server ---

  ask(names, rest) {
    const only = names.size > 0 && [...names].every((name) => ["moment", "view"].includes(name));
    if (only && this.arrays) { this.draw(); return; }
    this.connection.ask("network", this.store.state, rest);
    this.waiting = setTimeout(() => { this.state.textContent = "compiling for networks of this size …"; }, 700);
  }

  // --- controls ---

  makeControls(c) {
    this.play = html("button", { type: "button", class: "button", id: "play", onclick: () => this.toggle() }, "▶ Play");
    return [
      c.section("Rule", c.presets(),
        c.slider("feedback_share"),
        c.slider("feedback", { label: "size of the feedback R", usable: (s) => s.feedback_share > 0 }),
        c.slider("propagator_share"),
        c.slider("decay", { usable: (s) => s.propagator_share > 0 && s.lags !== 1 }),
        c.slider("lags")),
      c.section("Teacher", c.choice("teacher_modes"), c.slider("teacher_a", { label: "a* of the first mode" }),
        c.slider("teacher_b"), c.slider("teacher_w", { label: "w* of the first mode" })),
      c.section("Student", c.choice("units"), c.slider("weight_scale"), c.slider("seed"), c.slider("learning_time")),
    ];
  }

  // --- the picture ---

  makeFigure() {
    this.state = html("span", { class: "quiet", role: "status" });
    this.clock = html("input", { type: "range", id: "slider-moment", min: 0, max: 1, step: 0.005, "aria-label": "moment of learning" });
    this.clock.addEventListener("input", () => { this.stop(); this.store.set({ moment: Number(this.clock.value) }, false); });
    this.clock.addEventListener("change", () => this.store.set({ moment: Number(this.clock.value) }));
    this.now = html("output", { for: "slider-moment" });
    const time = "learning time";
    this.charts = {
      loss: new Chart({ xlabel: time, ylabel: "loss" }),
      change: new Chart({ xlabel: time, ylabel: "singular value" }),
      alignment: new Chart({ xlabel: time, ylabel: "alignment" }),
      gain: new Chart({ xlabel: time, ylabel: "a b" }),
      w: new Chart({ xlabel: time, ylabel: "w" }),
    };
    this.disc = new Disc();
    const card = (title, chart) => html("figure", { class: "card" }, html("figcaption", {}, title), chart.element);
    return [
      html("div", { class: "figure-head" }, html("span", { class: "title" }, "A student learns from its teacher"), this.state),
      html("div", { class: "player" }, this.play, this.clock, this.now),
      html("div", { class: "panels" },
        card("Loss, a silent student’s is 1", this.charts.loss),
        card("Eigenvalues of W (×: the teacher’s)", this.disc),
        card("Singular values of W − W₀", this.charts.change),
        card("Alignment (dotted: of W)", this.charts.alignment),
        card("Gains of the modes (dashed: theory)", this.charts.gain),
        card("Their weights w (dashed: theory)", this.charts.w)),
    ];
  }

  makeSide() {
    this.table = html("table", { id: "numbers" });
    this.code = html("code", {});
    return [
      html("section", { class: "card" }, html("h2", {}, "At this moment"), this.table),
      html("section", { class: "card" }, html("h2", {}, "The same in Python"), html("pre", {}, this.code)),
    ];
  }

  take(header, arrays) {
    clearTimeout(this.waiting);
    this.state.textContent = header.error ? header.error : `${header.rule}: ${header.outcome} at learning time ${short(header.ended)}`;
    if (header.error) return;
    Object.assign(this, { header, arrays });
    this.code.textContent = header.snippet;
    this.table.dataset.request = header.id;
    this.draw();
  }

  // Row k of an array whose last axis is time.
  row(name, k) {
    const count = this.arrays.time.length;
    return this.arrays[name].subarray(k * count, (k + 1) * count);
  }

  rows(name) { return Array.from({ length: this.arrays[name].length / this.arrays.time.length }, (_, k) => this.row(name, k)); }

  draw() {
    const { time } = this.arrays, { moment } = this.store.state;
    const last = time.length - 1;
    const at = Math.round(moment * last), cursor = time[Math.max(at, 1)];
    this.clock.value = moment;
    this.now.textContent = `learning time ${short(time[at])}`;
    const x = { low: time[1] ?? 1e-3, high: Math.max(time[last], 2 * (time[1] ?? 1e-3)), log: true };
    const { colors } = this.spec;
    const lines = (name, over = {}) => this.rows(name).map((y, k) => ({ x: time, y, color: colors[k % colors.length], width: 2, ...over }));
    const fitted = (...names) => {
      const found = names.flatMap((name) => [...this.arrays[name]]).filter(Number.isFinite);
      const [low, high] = [Math.min(0, ...found), Math.max(0.1, ...found)];
      return { low, high: high + 0.06 * (high - low) };
    };
    const loss = this.arrays.loss.map((value) => value / this.header.silent_loss);
    const top = Math.max(...loss.filter(Number.isFinite), 1e-3);
    this.charts.loss.draw({ x, y: { low: top * 1e-6, high: top * 2, log: true }, cursor, curves: [{ x: time, y: loss, color: "#1d1f23", width: 2.5 }] });
    const strongest = Math.max(...this.arrays.change, 1e-6);
    this.charts.change.draw({ x, y: { low: strongest * 1e-4, high: strongest * 2, log: true }, cursor, curves: lines("change") });
    this.charts.alignment.draw({ x, y: { low: 0, high: 1.02 }, cursor,
      curves: [...lines("input_output"), ...lines("recurrent", { color: "#1d1f23", dash: "2 3" })] });
    for (const name of ["gain", "w"]) this.charts[name].draw({ x, y: fitted(name, `predicted_${name}`), cursor,
      curves: [...lines(name, { width: 3.5, faint: true }), ...lines(`predicted_${name}`, { dash: "6 4", width: 1.8 })] });
    this.disc.draw({ trails: this.rows("real").map((re, k) => [re, this.row("imaginary", k)]), at, teacher: this.header.teacher_w });
    this.numbers(at, loss[at]);
  }

  numbers(at, loss) {
    const column = (name) => this.rows(name).map((y) => y[at]);
    const change = column("change"), radius = Math.max(...this.rows("real").map((re, k) => Math.hypot(re[at], this.row("imaginary", k)[at])));
    const rank = change.filter((x) => x > 1e-6 * change[0]).length * (change[0] > 0);
    const squares = change.map((x) => x * x), sum = (xs) => xs.reduce((x, y) => x + y, 0);
    const entries = [
      ["loss, of a silent student’s", short(loss)],
      ["rank of W − W₀", String(rank)],
      ["its participation ratio", short(sum(squares) ** 2 / sum(squares.map((x) => x * x)))],
      ["spectral radius of W", short(radius)],
      ["least input–output alignment", short(Math.min(...column("input_output")))],
      ["recurrent alignment", short(this.arrays.recurrent[at])],
    ];
    this.table.replaceChildren(...entries.map(([name, value]) => html("tr", {}, html("td", {}, name), html("td", {}, value))));
  }

  // --- time ---

  toggle() { if (this.playing) this.stop(); else this.start(); }

  start() {
    if (!this.arrays) return;
    const from = this.store.state.moment >= 1 ? 0 : this.store.state.moment;
    const began = performance.now() - from * PLAYED;
    this.play.textContent = "❚❚ Pause";
    const step = (now) => {
      const moment = Math.min(1, (now - began) / PLAYED);
      this.store.state.moment = Number(moment.toFixed(3));
      this.draw();
      this.playing = moment < 1 && this.play.isConnected ? requestAnimationFrame(step) : 0;
      if (!this.playing) this.stop();
    };
    this.playing = requestAnimationFrame(step);
  }

  stop() {
    if (this.playing) cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.play.textContent = "▶ Play";
    if (this.play.isConnected) this.store.set({}, true);
  }
}
