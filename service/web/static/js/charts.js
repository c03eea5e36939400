// Lines and bars in SVG, with the same numbers in a table behind them.

import { s, h, disclosure } from "./dom.js";
import { show, short } from "./format.js";

const LEFT = 52, RIGHT = 12, TOP = 10, BOTTOM = 26;

/**
 * Lines over a common axis: series [{name, values, style}], style "old", "new" or "plain"; x(k) is the text of a place.
 * log: logarithmic, for values above 0. low, high: values that are seen in any case. bands: [{low, high}] values, filled.
 */
export function lines({ label, series, x = (k) => String(k + 1), height = 200, log = false, low, high, bands = [], axis = "timestep", mark, width = 400 }) {
  const all = series.flatMap((one) => Array.from(one.values)).concat(bands.flatMap((band) => [...band.low, ...band.high])).filter((v) => Number.isFinite(v) && (!log || v > 0));
  let [bottom, top] = [Math.min(...all, low ?? Infinity), Math.max(...all, high ?? -Infinity)];
  if (!all.length) [bottom, top] = log ? [0.1, 1] : [0, 1];
  if (log) bottom = Math.max(bottom, top * 1e-6);
  if (bottom === top) [bottom, top] = log ? [bottom / 2, top * 2] : [bottom - Math.abs(bottom || 1) * 0.1, top + Math.abs(top || 1) * 0.1];
  const n = Math.max(...series.map((one) => one.values.length)), scale = log ? Math.log10 : (v) => v;
  const px = (k) => LEFT + (n > 1 ? k / (n - 1) : 0.5) * (width - LEFT - RIGHT);
  const py = (v) => TOP + (1 - (scale(Math.max(v, log ? bottom : -Infinity)) - scale(bottom)) / (scale(top) - scale(bottom))) * (height - TOP - BOTTOM);
  const ticks = log ? powers(bottom, top) : steps(bottom, top);
  const path = (values) => Array.from(values, (v, k) => (Number.isFinite(v) ? `${px(k).toFixed(1)},${py(v).toFixed(1)}` : null)).filter(Boolean).join(" ");
  const places = n < 2 ? [0] : [...new Set([0, Math.round((n - 1) / 3), Math.round((n - 1) * 2 / 3), n - 1])];
  return s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    ticks.map((v) => [
      s("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: py(v), y2: py(v) }),
      s("text", { x: LEFT - 6, y: py(v) + 4, "text-anchor": "end" }, tick(v)),
    ]),
    places.map((k) => s("text", { x: px(k), y: height - 8, "text-anchor": k === 0 && n > 1 ? "start" : k === n - 1 && n > 1 ? "end" : "middle" }, k === 0 ? `${axis} ${x(k)}` : x(k))),
    bands.map((band) => s("polygon", { class: "band", points: `${path(band.low)} ${path(band.high).split(" ").reverse().join(" ")}` })),
    mark === undefined ? null : s("line", { class: "now", x1: px(mark), x2: px(mark), y1: TOP, y2: height - BOTTOM }),
    series.map((one) => [
      s("polyline", { class: `line ${one.style}`, points: path(one.values) }),
      n <= 60 ? Array.from(one.values, (v, k) => (Number.isFinite(v) ? s("circle", { class: `dot ${one.style}`, cx: px(k), cy: py(v), r: 3 }, s("title", {}, `${one.name}, ${axis} ${x(k)}: ${show(v)}`)) : null)) : null,
    ]));
}

/** Horizontal bars from zero, one for each label; old: values before a change. */
export function bars({ label, names, values, old, low = 0, high, width = 400 }) {
  const all = [...values, ...(old ?? [])].filter(Number.isFinite);
  const bottom = Math.min(low, ...all), top = Math.max(high ?? 0, ...all, bottom + 1e-9);
  const share = (v) => (v - bottom) / (top - bottom) * 100;
  const row = 30, height = names.length * row + 4, left = 84, room = width - left - 130;
  const px = (v) => left + share(v) / 100 * room;
  return s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    names.map((name, i) => {
      const value = values[i], y = i * row + 4, before = old?.[i];
      const from = Math.min(px(0), px(value)), long = Math.max(1, Math.abs(px(value) - px(0)));
      return s("g", {},
        s("text", { x: left - 8, y: y + 17, "text-anchor": "end" }, name.length > 11 ? `${name.slice(0, 10)}…` : name, s("title", {}, name)),
        before === undefined ? null : s("rect", { class: "bar old", x: Math.min(px(0), px(before)), y: y + 1, width: Math.max(1, Math.abs(px(before) - px(0))), height: 22 }),
        Number.isFinite(value) ? s("rect", { class: `bar ${value < 0 ? "below" : "above"}${before === undefined ? "" : " new"}`, x: from, y: before === undefined ? y + 1 : y + 5, width: long, height: before === undefined ? 22 : 14 }) : null,
        s("text", { class: "strong", x: left + room + 8, y: y + 17 }, before === undefined || before === value ? show(value) : `${show(before)} → ${show(value)}`));
    }),
    s("line", { class: "zero", x1: px(0), x2: px(0), y1: 0, y2: height }));
}

/** A table of numbers behind a picture: columns [{name, values}], and the text of each row. */
export function numbers(caption, rowName, columns, row = (k) => String(k + 1)) {
  return disclosure("Table of numbers", () => {
    const n = Math.max(...columns.map((column) => column.values.length)), most = 500;
    return h("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": caption }, h("table", { class: "numbers" },
      h("caption", {}, n > most ? `${caption} (the first ${most} of ${n})` : caption),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, rowName), columns.map((column) => h("th", { scope: "col" }, column.name)))),
      h("tbody", {}, Array.from({ length: Math.min(n, most) }, (_, k) => h("tr", {}, h("th", { scope: "row" }, row(k)),
        columns.map((column) => h("td", {}, show(column.values[k], 6))))))));
  });
}

/** Points in the plane of complex numbers, with the unit circle. modes: [{real, imaginary, modulus}]. */
export function plane(label, modes) {
  const reach = Math.max(1.15, ...modes.map((mode) => mode.modulus * 1.1)), size = 240, middle = size / 2, unit = (middle - 8) / reach;
  return s("svg", { class: "plane", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label },
    s("line", { class: "rule", x1: 0, x2: size, y1: middle, y2: middle }), s("line", { class: "rule", x1: middle, x2: middle, y1: 0, y2: size }),
    s("circle", { class: "circle", cx: middle, cy: middle, r: unit }),
    modes.map((mode) => {
      const x = middle + mode.real * unit, y = middle - mode.imaginary * unit, grows = mode.modulus >= 1;
      // A growing mode is a square and a decaying one a dot, so that nobody needs the colour.
      return grows ? s("rect", { class: "mode above", x: x - 4, y: y - 4, width: 8, height: 8 }, s("title", {}, `|λ| ${show(mode.modulus)}`))
        : s("circle", { class: "mode below", cx: x, cy: y, r: 4 }, s("title", {}, `|λ| ${show(mode.modulus)}`));
    }));
}

function steps(low, high) {
  const raw = (high - low) / 5, size = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find((m) => m * size >= raw) * size, found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) found.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return found;
}

/** The text of a tick: as many digits as it needs. */
const tick = (v) => (Math.abs(v) >= 1e5 ? show(v, 3) : String(Number(v.toPrecision(4))).replace("-", "−"));

/** Powers of ten; where there are few, also their doubles and fives, or equal steps. */
function powers(low, high) {
  const found = [];
  if (high < 5 * low) return steps(low, high);
  if (Math.log10(high / low) < 1.5) {
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) found.push(...[1, 2, 5].map((m) => m * 10 ** e));
    return found.filter((v) => v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9));
  }
  for (let e = Math.ceil(Math.log10(low)); e <= Math.floor(Math.log10(high) + 1e-9); e++) found.push(10 ** e);
  return found.length > 7 ? found.filter((_, k) => k % 2 === 0) : found;
}

