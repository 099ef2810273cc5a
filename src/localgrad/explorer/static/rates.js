// Rates: how fast every rule converges along the optimal manifold, and at which learning rate it breaks.

import { Chart } from "./chart.js";
import { html, short, svg } from "./elements.js";

export class Rates {
  constructor({ store, connection, controls, spec }) {
    Object.assign(this, { store, connection, spec, kinds: ["rates"] });
    this.controls = this.makeControls(controls);
    this.figure = this.makeFigure();
    this.side = this.makeSide();
    connection.on("rates", (header, arrays) => this.show(header, arrays));
  }

  ask(names, rest) { this.connection.ask("rates", this.store.state, rest); }

  makeControls(c) {
    return [
      c.section("Rule", c.presets(),
        c.slider("feedback_share"),
        c.slider("feedback", { usable: (s) => s.feedback_share > 0 }),
        c.slider("propagator_share"),
        c.slider("decay", { usable: (s) => s.propagator_share > 0 && s.lags !== 1 }),
        c.slider("lags"), c.slider("delay"), c.choice("poles")),
      c.section("Teacher", c.slider("teacher_a"), c.slider("teacher_b"), c.slider("teacher_w"), c.choice("branch")),
      c.section("Rules beside it", c.compared()),
    ];
  }

  makeFigure() {
    const xlabel = "s, the readout at the optimum";
    this.charts = {
      rate: new Chart({ xlabel, ylabel: "rate", height: 300 }),
      spectrum: new Chart({ xlabel, ylabel: "Re λ", height: 210 }),
      critical: new Chart({ xlabel, ylabel: "critical η", height: 210 }),
    };
    this.title = html("span", { class: "title" }, "How fast learning converges along the optimal manifold");
    this.refusal = html("p", { class: "notice", role: "alert", hidden: true });
    this.unstable = html("p", { class: "hint", hidden: true }, "No point of this branch is stable under any of these rules, whatever the learning rate.");
    const card = (words, chart, ...more) => html("figure", { class: "card" }, html("figcaption", {}, words), chart.element, ...more);
    return [
      html("div", { class: "figure-head" }, this.title),
      this.refusal,
      html("div", { class: "panels whole" }, card("Rate of convergence, −Re λ₊ (dots: where the rate equals that of the rule of the sliders)", this.charts.rate)),
      html("div", { class: "panels" },
        card("Both eigenvalues of the rule of the sliders", this.charts.spectrum),
        card("Critical learning rate: larger steps do not settle", this.charts.critical, this.unstable)),
    ];
  }

  makeSide() {
    this.table = html("table", { id: "rates" });
    this.code = html("code", {});
    return [
      html("section", { class: "card" }, html("h2", {}, "Along this branch"), this.table),
      html("section", { class: "card" }, html("h2", {}, "The same in Python"), html("pre", {}, this.code)),
    ];
  }

  show(header, arrays) {
    const why = header.error ?? header.refused.find((_, place) => header.found[0]?.place !== 0)?.why;
    this.refusal.hidden = !why;
    this.refusal.textContent = why ? why[0].toUpperCase() + why.slice(1) + "." : "";
    if (header.error || header.found.length === 0) return;
    Object.assign(this, { header, arrays });
    const size = arrays.s.map(Math.abs), sign = arrays.s[0] < 0 ? "−" : "";
    const x = { low: size[0], high: size[size.length - 1], log: true, sign };
    const look = ({ color, dash, place }) => ({ color, dash, width: place === 0 ? 3.5 : 2 });
    const backwards = [...header.found].reverse();
    const curve = (name) => backwards.map((f) => ({ ...look(f), x: size, y: arrays[`${name}${f.place}`] }));
    const at = (f, s) => arrays[`rate${f.place}`][size.findIndex((v) => v >= Math.abs(s))];
    this.charts.rate.draw({ x, y: around(curve("rate")), curves: curve("rate"), zero: true,
      marks: header.found.flatMap((f) => f.crossings.map((s) => ({ x: Math.abs(s), y: at(f, s), color: f.color }))) });
    const own = header.found.find((f) => f.place === 0);
    if (own) {
      const pair = ["plus", "minus"].map((name) => ({ ...look(own), width: 2.5, dash: name === "minus" ? "3 4" : null, x: size, y: arrays[`${name}0`] }));
      this.charts.spectrum.draw({ x, y: around(pair), curves: pair, zero: true });
    }
    const limits = curve("critical").map((c) => ({ ...c, y: c.y.map((v) => (v > 0 ? v : NaN)) }));
    const shown = limits.flatMap((c) => [...c.y]).filter(Number.isFinite);
    this.unstable.hidden = shown.length > 0;
    this.charts.critical.element.hidden = shown.length === 0;
    if (shown.length) this.charts.critical.draw({ x, curves: limits, y: { low: Math.min(...shown) * 0.8, high: Math.max(...shown) * 1.25, log: true } });
    const rows = header.found.map((f) => html("tr", {},
      html("td", {}, lineSample(look(f)), f.rule), html("td", {}, `${Math.round(100 * f.stable)} %`),
      html("td", {}, short(f.fastest)), html("td", {}, short(f.fastest_at)),
      html("td", {}, f.place === 0 ? "" : f.crossings.map((s) => short(s)).join(", ") || "–")));
    for (const { rule, why: reason } of header.refused) rows.push(html("tr", {}, html("td", {}, rule), html("td", { colspan: 4 }, reason)));
    this.table.replaceChildren(html("tr", {}, ...["rule", "stable", "fastest", "at s", "crosses at s"].map((word) => html("th", {}, word))), ...rows);
    this.code.textContent = header.snippet;
    this.table.dataset.request = header.id;
  }
}

// A range of rates about 0: not all of a steep end, so that what is slow stays visible.
function around(curves) {
  const values = curves.flatMap((c) => [...c.y]).filter(Number.isFinite).sort((p, q) => p - q);
  const part = (share) => values[Math.min(values.length - 1, Math.floor(share * values.length))];
  const low = Math.min(0, part(0.04)), high = Math.max(0, part(0.96));
  const room = 0.08 * (high - low || 1);
  return { low: low - room, high: high + room };
}

const lineSample = ({ color, dash, width }) => svg("svg", { width: 26, height: 10, viewBox: "0 0 26 10" },
  svg("path", { d: "M0 5H22", stroke: color, "stroke-width": width, "stroke-dasharray": dash }));
