// Sliders, choices and chips, made from the server's description of a state.

import { html, short } from "./elements.js";

export class Controls {
  constructor(store) {
    this.store = store;
    this.updates = [];
    store.onChange(() => this.update());
  }

  update() { for (const update of this.updates) update(this.store.state); }

  section(title, ...children) { return html("section", {}, html("h2", {}, title), ...children); }

  slider(name, { label, usable, bounds } = {}) {
    const field = this.store.spec.fields[name];
    const id = `slider-${name}`;
    const range = html("input", { type: "range", id, min: field.minimum, max: field.maximum, step: field.step });
    const number = html("input", { type: "number", step: field.step, min: field.minimum, max: field.maximum,
      "aria-label": `${label ?? field.label}, as a number` });
    const whole = field.type === "integer";
    const shown = (x) => (field.zero_word && x === 0 ? field.zero_word : short(x, 4).replace("−", "-"));
    if (field.zero_word) number.type = "text";
    range.addEventListener("input", () => this.store.set({ [name]: Number(range.value) }, false));
    range.addEventListener("change", () => this.store.set({ [name]: Number(range.value) }, true));
    number.addEventListener("change", () => {
      const text = number.value.trim();
      const value = text === field.zero_word ? 0 : Number(text);
      const fits = Number.isFinite(value) && text !== "" && value >= field.minimum && value <= field.maximum;
      if (fits) this.store.set({ [name]: whole ? Math.round(value) : value });
      else this.update();
    });
    const ends = field.ends && html("div", { class: "ends" }, ...field.ends.map((word) => html("span", {}, word)));
    const box = html("div", { class: "slider" }, html("label", { for: id }, label ?? field.label), number, range, ends);
    this.updates.push((state) => {
      if (bounds) [range.min, range.max] = bounds(state);
      range.value = state[name];
      if (document.activeElement !== number) number.value = shown(state[name]);
      range.setAttribute("aria-valuetext", shown(state[name]));
      box.classList.toggle("off", usable ? !usable(state) : false);
      if (typeof label === "function") box.firstChild.textContent = label(state);
    });
    return box;
  }

  choice(name, words = {}, also = () => ({})) {
    const field = this.store.spec.fields[name];
    const buttons = field.enum.map((value) =>
      html("button", { type: "button", onclick: () => this.store.set({ [name]: value, ...also(value, this.store.state) }) },
        words[value] ?? value));
    this.updates.push((state) => field.enum.forEach((value, place) =>
      buttons[place].setAttribute("aria-pressed", String(state[name] === value))));
    return html("div", { class: "choice", id: `choice-${name}` }, html("span", {}, field.label),
      html("div", { class: "segments", role: "group", "aria-label": field.label }, ...buttons));
  }

  // Named rules: a chip puts the sliders where the rule is.
  presets() {
    const isAt = (rule, state) => Object.entries(rule.place).every(([name, value]) => state[name] === value);
    const chips = this.store.spec.rules.map((rule) => {
      const chip = html("button", { type: "button", class: "chip", onclick: () => this.store.set(rule.place) }, rule.title);
      this.updates.push((state) => chip.setAttribute("aria-pressed", String(isAt(rule, state))));
      return chip;
    });
    return html("div", { class: "presets" }, ...chips);
  }

  // Which named rules are drawn beside that of the sliders.
  compared() {
    const chips = this.store.spec.rules.map((rule) => {
      const list = (state) => state.compare.split(",").filter(Boolean);
      const chip = html("button", { type: "button", class: "chip", onclick: () => {
        const now = list(this.store.state);
        const next = now.includes(rule.name) ? now.filter((x) => x !== rule.name) : [...now, rule.name];
        this.store.set({ compare: next.join(",") });
      } }, rule.title);
      this.updates.push((state) => chip.setAttribute("aria-pressed", String(list(state).includes(rule.name))));
      return chip;
    });
    return html("div", { class: "presets" }, ...chips);
  }
}
