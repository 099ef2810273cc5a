// What is shown as a file: the picture as SVG or PNG, the numbers behind it as JSON; and the link and Python to copy.

import { html, svg } from "./elements.js";

const INK = "#1d1f23", QUIET = "#646870", FONT = "system-ui, sans-serif";

// The whole picture as one SVG: each map as an image, each chart as it is, and the words at their places.
export function pictureOf(figure) {
  const frame = figure.getBoundingClientRect();
  const place = (element) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return { x: x - frame.x, y: y - frame.y, width, height };
  };
  const root = svg("svg", { xmlns: "http://www.w3.org/2000/svg", width: frame.width, height: frame.height,
    viewBox: `0 0 ${frame.width} ${frame.height}` }, svg("rect", { width: "100%", height: "100%", fill: "#fff" }));
  for (const map of figure.querySelectorAll("canvas:not([hidden])")) {
    root.append(svg("image", { ...place(map), href: map.toDataURL("image/png"), "image-rendering": "pixelated", preserveAspectRatio: "none" }));
  }
  for (const drawing of figure.querySelectorAll("svg")) {
    const copy = drawing.cloneNode(true);
    for (const [name, value] of Object.entries(place(drawing))) copy.setAttribute(name, value);
    for (const name of ["role", "tabindex", "aria-label"]) copy.removeAttribute(name);
    root.append(copy);
  }
  for (const words of figure.querySelectorAll(".title, .quiet, figcaption, .legend span")) {
    const { x, y, height } = place(words);
    const swatch = words.querySelector("svg");
    const title = words.classList.contains("title");
    root.append(svg("text", { x: x + (swatch ? swatch.getBoundingClientRect().width + 4 : 0), y: y + Math.min(height, 22) * 0.72,
      "font-family": FONT, "font-size": title ? 15 : 13, "font-weight": title ? 600 : 400, fill: title ? INK : QUIET }, words.textContent));
  }
  return new XMLSerializer().serializeToString(root);
}

async function asPng(text, scale = 2) {
  const image = new Image();
  const address = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  await new Promise((done, failed) => Object.assign(image, { onload: done, onerror: failed, src: address }));
  const canvas = html("canvas", { width: image.width * scale, height: image.height * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(address);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

// The state, the Python, and the answers of the server with their arrays, flat with their shapes.
export function numbersOf(store, answers) {
  const plain = Object.fromEntries(answers.map(({ header, arrays }) => {
    const { arrays: _, ...words } = header;
    return [header.kind, { ...words, arrays: Object.fromEntries(Object.entries(arrays).map(([name, values]) =>
      [name, { shape: values.shape, values: Array.from(values) }])) }];
  }));
  return JSON.stringify({ program: "localgrad explore", state: store.state, link: store.link(), answers: plain });
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  html("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed here";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}

export function exportBar({ store, connection, kinds, figure }) {
  const name = () => `localgrad-${store.state.view}`;
  const button = (words, act) => html("button", { type: "button", class: "button", onclick: (event) => act(event.currentTarget) }, words);
  const answers = () => kinds().map((kind) => connection.answers[kind]).filter(Boolean);
  return html("div", { class: "row", id: "export" },
    button("Copy link", (b) => copy(location.href, b)),
    button("Copy Python", (b) => copy(document.querySelector("#side code")?.textContent ?? "", b)),
    button("PNG", async () => save(await asPng(pictureOf(figure())), `${name()}.png`)),
    button("SVG", () => save(new Blob([pictureOf(figure())], { type: "image/svg+xml" }), `${name()}.svg`)),
    button("JSON", () => save(new Blob([numbersOf(store, answers())], { type: "application/json" }), `${name()}.json`)),
  );
}
