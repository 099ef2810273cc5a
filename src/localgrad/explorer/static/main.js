// The page: one state, one connection, one view at a time.

import { Connection } from "./connection.js";
import { Controls } from "./controls.js";
import { html } from "./elements.js";
import { exportBar } from "./export.js";
import { ModeSpace } from "./mode_space.js";
import { Network } from "./network.js";
import { Rates } from "./rates.js";
import { Store } from "./store.js";
import { Stories } from "./stories.js";

const VIEWS = { modes: ["Mode space", ModeSpace], rates: ["Rates", Rates], network: ["Network", Network] };
const find = (id) => document.getElementById(id);

const spec = await (await fetch("spec.json")).json();
const store = new Store(spec);
const status = find("connection"), away = find("away");
const connection = new Connection((isHere) => {
  status.dataset.state = isHere ? "here" : "away";
  status.textContent = isHere ? "connected" : "the server is away";
  away.hidden = isHere;
  away.textContent = "The server does not answer. Start it again with “localgrad explore”; this page then goes on by itself.";
});

const views = {};
let shown;
const saving = exportBar({ store, connection, kinds: () => shown.kinds, figure: () => find("figure") });

function show(name) {
  const [, View] = VIEWS[name] ?? VIEWS.modes;
  if (!views[name]) {
    const controls = new Controls(store);
    views[name] = new View({ store, connection, controls, spec });
    views[name].update = () => controls.update();
  }
  shown = views[name];
  find("controls").replaceChildren(...shown.controls);
  find("figure").replaceChildren(...shown.figure);
  find("side").replaceChildren(...shown.side, saving);
  for (const tab of find("views").children) tab.setAttribute("aria-selected", String(tab.dataset.view === name));
  shown.update();
  shown.ask(new Set(), true);
}

const stories = new Stories({ store, spec });
document.querySelector("main").before(stories.element);
find("tell").addEventListener("click", () => stories.open(Math.max(stories.at, 0)));
find("views").append(...Object.entries(VIEWS).map(([name, [title]]) =>
  html("button", { type: "button", role: "tab", "data-view": name, onclick: () => store.set({ view: name }) }, title)));

// At most one request a frame of the screen; when nothing moves any more, one for the whole resolution.
let frame = 0, pause = 0, changed = new Set();
store.onChange((names, rest) => {
  if (names.has("view")) { show(store.state.view); return; }
  for (const name of names) changed.add(name);
  clearTimeout(pause);
  if (rest) { send(true); return; }
  frame ||= requestAnimationFrame(() => send(false));
  pause = setTimeout(() => store.set({}, true), 250);
});
function send(rest) {
  cancelAnimationFrame(frame);
  frame = 0;
  shown.ask(changed, rest);
  if (rest) changed = new Set();
}

show(store.state.view in VIEWS ? store.state.view : "modes");
