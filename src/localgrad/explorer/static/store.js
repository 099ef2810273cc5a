// The state of the page: one flat object, as src/localgrad/explorer/state.py describes it. What differs from the
// defaults stands in the address behind the #, so that every state has a link.

export class Store {
  constructor(spec) {
    this.spec = spec;
    this.defaults = Object.fromEntries(Object.entries(spec.fields).map(([name, field]) => [name, field.default]));
    this.listeners = [];
    this.state = this.fromHash();
    window.addEventListener("hashchange", () => {
      if (location.hash === this.written) return;
      this.state = this.fromHash();
      this.tell(Object.keys(this.state), true);
    });
  }

  // Numbers and words as they stand in the link; the server judges them, and says what is wrong with them.
  fromHash() {
    const link = new URLSearchParams(location.hash.slice(1));
    const story = this.spec.stories.find(({ name }) => name === link.get("story"));
    const found = { ...this.defaults, ...(link.size === 1 ? story?.state : {}) }; // the name alone tells the whole story
    for (const [name, text] of link) {
      const field = this.spec.fields[name];
      const isNumber = field && (field.type === "number" || field.type === "integer");
      const value = isNumber && text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
      Object.defineProperty(found, name, { value, enumerable: true, writable: true, configurable: true });
    }
    return found;
  }

  link() {
    const changed = Object.entries(this.state).filter(([name, value]) => value !== this.defaults[name]);
    return changed.length ? "#" + new URLSearchParams(changed).toString().replaceAll("%2C", ",") : "#";
  }

  set(changes, rest = true) {
    const names = Object.keys(changes).filter((name) => this.state[name] !== changes[name]);
    if (names.length === 0 && !rest) return;
    Object.assign(this.state, changes);
    this.tell(names, rest);
  }

  tell(names, rest) {
    if (rest) {
      this.written = this.link();
      history.replaceState(null, "", this.written === "#" ? location.pathname : this.written);
    }
    for (const listener of this.listeners) listener(new Set(names), rest);
  }

  onChange(listener) { this.listeners.push(listener); }
}
