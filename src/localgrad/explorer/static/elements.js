// Making elements, and scales and ticks for axes. No inline styles: the page's content security policy has none.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

export const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

export const linear = (low, high, from, to) => {
  const scale = (x) => from + ((x - low) / (high - low)) * (to - from);
  scale.back = (y) => low + ((y - from) / (to - from)) * (high - low);
  return scale;
};
export const logarithmic = (low, high, from, to) => {
  const inner = linear(Math.log10(low), Math.log10(high), from, to);
  const scale = (x) => inner(Math.log10(x));
  scale.back = (y) => 10 ** inner.back(y);
  return scale;
};

export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((x) => x * power >= rough) * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

// Of a range of about a decade: 1, 2 and 5 times its powers.
function within(low, high) {
  const power = 10 ** Math.floor(Math.log10(low));
  return [1, 2, 5, 10, 20, 50, 100, 200].map((x) => x * power).filter((x) => x >= low && x <= high);
}

export function decades(low, high) {
  if (high / low < 30) return within(low, high);
  const found = [];
  for (let k = Math.ceil(Math.log10(low) - 1e-6); k <= Math.log10(high) + 1e-6; k++) found.push(10 ** k);
  const every = Math.ceil(found.length / 7);
  return found.filter((_, place) => place % every === 0);
}

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
export const powerOfTen = (x) => {
  if (Math.abs(Math.log10(x) - Math.round(Math.log10(x))) > 1e-6) return short(x);
  const k = Math.round(Math.log10(x));
  return k >= -1 && k <= 3 ? String(Number((10 ** k).toPrecision(1))) : "10" + [...String(k)].map((c) => RAISED[c]).join("");
};

export function short(x, digits = 3) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (!Number.isFinite(x)) return "∞";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return x.toExponential(1).replace("e+", "e").replace("-", "−");
  return String(Number(x.toPrecision(digits))).replace("-", "−");
}

// A line through points, leaving out what is no number; whole pixels and tenths suffice.
export function line(xs, ys, x, y) {
  let path = "", pen = false;
  for (let i = 0; i < xs.length; i++) {
    const px = x(xs[i]), py = y(ys[i]);
    if (!Number.isFinite(px) || !Number.isFinite(py)) { pen = false; continue; }
    path += `${pen ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`;
    pen = true;
  }
  return path;
}
