// Guided steps: a bar above the picture with what to see and what to try; the state behind it stays the reader's.

import { html } from "./elements.js";

export class Stories {
  constructor({ store, spec }) {
    Object.assign(this, { store, stories: spec.stories });
    const button = (text, label, onclick) => html("button", { type: "button", class: "button", "aria-label": label, onclick }, text);
    this.place = html("p", { class: "hint" });
    this.title = html("h3", { tabindex: -1 });
    this.text = html("p", {});
    this.totry = html("p", { class: "try" });
    this.back = button("← Back", "the story before", () => this.go(-1));
    this.next = button("Next →", "the next story", () => this.go(1));
    this.again = button("Show again", "put everything as the story has it", () => this.open(this.at));
    this.element = html("section", { id: "story", "aria-label": "Story", hidden: true },
      html("div", { class: "told" }, this.title, this.text, this.totry),
      html("div", { class: "turn" }, this.place, html("div", { class: "row" }, this.back, this.next, this.again,
        button("Close", "close the stories", () => this.store.set({ story: "" })))));
    store.onChange((names) => names.has("story") && this.update());
    this.update();
  }

  get at() { return this.stories.findIndex(({ name }) => name === this.store.state.story); }

  open(at) { this.store.set(this.stories[at].state); this.title.focus({ preventScroll: true }); }

  go(steps) { this.open((this.at + steps + this.stories.length) % this.stories.length); }

  update() {
    const { at } = this;
    this.element.hidden = at < 0;
    if (at < 0) return;
    const story = this.stories[at];
    this.place.textContent = `${at + 1} of ${this.stories.length}`;
    this.title.textContent = story.title;
    this.text.textContent = story.text;
    this.totry.replaceChildren(html("strong", {}, "Try: "), story.try);
  }
}
