// The section "Unrolled": the recurrence as a column for each timestep, with its numbers.

import { s, h, by, put, say } from "./dom.js";
import { state, change, on } from "./store.js";
import { parts, denses } from "./network.js";
import { short, colour, inkOn, reachOf, onTheme } from "./format.js";
import { grid, factsOf } from "./input.js";

const WIDE = 58, HIGH = 22, GAP = 44, HEAD = 26, LEFT = 8; // pixels of a unit, and between columns
const MOST_STEPS = 24, MOST_UNITS = 16, MOST_FEATURES = 8;

let shown = ""; // name of the recurrent part
let window_ = { first: null, unit: 0 }; // first timestep and unit that are drawn; null: the last ones

export function unrolled() {
  on("now picked step away failure", draw);
  on("info", () => { window_ = { first: null, unit: 0 }; });
  onTheme(draw);
  by("unrolled-layer").addEventListener("change", () => { shown = by("unrolled-layer").value; window_ = { first: null, unit: 0 }; change({ picked: null }); });
}

function draw() {
  by("unrolled").classList.toggle("stale", Boolean(state.away || state.failure));
  const found = parts(state.now);
  by("unrolled").hidden = !found.length && !denses(state.now).length;
  const part = found.find((one) => one.name === shown) ?? found[0];
  const select = by("unrolled-layer");
  if (select.dataset.names !== found.map((one) => one.name).join("\n")) {
    select.dataset.names = found.map((one) => one.name).join("\n");
    put(select, found.map((one) => h("option", { value: one.name }, `${one.name} (${one.class_name})`)));
  }
  if (part) select.value = part.name;
  select.closest("label").hidden = found.length < 2;
  const focus = document.activeElement?.closest?.("#unrolled-body [data-unit]")?.dataset.unit;
  put(by("unrolled-body"), diagram(part));
  if (focus) by("unrolled-body").querySelector(`[data-unit="${CSS.escape(focus)}"]`)?.focus();
  tools(part);
}

/** Which timesteps and units are drawn. */
function seen(part) {
  const steps = Math.min(part.timesteps, MOST_STEPS), last = part.timesteps - steps;
  const first = state.step === null ? Math.min(window_.first ?? last, last) : Math.max(0, Math.min(last, state.step - Math.floor(steps / 2)));
  const units = Math.min(part.units, MOST_UNITS);
  return { first, steps, unit: Math.min(window_.unit, part.units - units), units };
}

function tools(part) {
  const { first, steps, unit, units } = part ? seen(part) : {};
  const move = (key, to) => { window_ = { ...window_, [key]: to }; draw(); };
  const range = (key, label, value, size, all) => (all > size ? h("label", { class: "slide" }, `${label} ${value + 1}–${value + size} of ${all} `,
    h("input", { type: "range", min: 0, max: all - size, value, oninput: (event) => move(key, Number(event.target.value)) })) : null);
  const focused = document.activeElement?.closest?.("#unrolled-tools") ? document.activeElement : null;
  if (focused) return; // a slider that is being dragged stays what it is
  put(by("unrolled-tools"), part ? [range("first", "Timesteps", first, steps, part.timesteps), range("unit", "Units", unit, units, part.units)] : []);
}

/** What goes into a recurrent part at a timestep: the input of the network, or the output of the layer before. */
function inputOf(part) {
  const place = state.now.layers.findIndex((layer) => layer.layer === part.layer);
  const before = state.now.layers[place - 1];
  const fit = (array) => array && array.shape.length === 2 && array.shape[0] === part.timesteps;
  if (before && fit(before.tensors.output)) return { name: `output of ${before.layer}`, ...before.tensors.output };
  const [name, one] = Object.entries(state.input)[0] ?? [];
  if (place === 0 && one && grid(one.shape)[0] === part.timesteps) return { name: "", shape: grid(one.shape), values: one.values, input: name };
  return null;
}

function diagram(part) {
  const dense = denses(state.now);
  if (!part) return dense.length ? svgOf(LEFT, 0, [], dense, null) : h("p", { class: "hint" }, "This version has no layer whose inside is shown here.");
  const { first, steps, unit, units } = seen(part), hidden = part.tensor("hidden_state"), x = inputOf(part);
  const reach = Math.max(reachOf(hidden.values), 1e-3), features = x ? Math.min(x.shape[1], MOST_FEATURES) : 0;
  const facts = x?.input ? factsOf(x.input, x.shape[1]) : null;
  const content = [], bottom = HEAD + units * HIGH, backwards = part.prefix.startsWith("backward/");
  const column = (k) => LEFT + 90 + (k + 1) * (WIDE + GAP);
  const start = LEFT + 90;
  for (let u = 0; u < units; u++) content.push(s("text", { class: "label", x: start - 10, y: HEAD + u * HIGH + 15, "text-anchor": "end" }, `unit ${unit + u + 1}`));
  const edge = backwards ? first + steps : first - 1; // the state before the first column that is drawn
  content.push(s("text", { class: "head", x: start + WIDE / 2, y: 16, "text-anchor": "middle" }, backwards ? "" : first ? `h(${first})` : "h(0)"));
  if (!backwards) for (let u = 0; u < units; u++) content.push(unitAt(start, u, edge < 0 ? 0 : hidden.values[edge * part.units + unit + u], reach, { quiet: true }));
  for (let k = 0; k < steps; k++) {
    const t = first + k, left = column(k), future = state.step !== null && t > state.step;
    const from = backwards ? (k + 1 < steps ? column(k + 1) - 4 : null) : (k ? column(k - 1) : start) + WIDE + 4;
    const to = backwards ? left + WIDE + 4 : left - 6;
    if (from !== null) {
      content.push(arrow(from, HEAD + units * HIGH / 2, to, HEAD + units * HIGH / 2), s("text", { class: "arrowname", x: (from + to) / 2, y: HEAD + units * HIGH / 2 - 6, "text-anchor": "middle" }, "U"));
    }
    content.push(s("text", { class: `head${state.step === t ? " now" : ""}`, x: left + WIDE / 2, y: 16, "text-anchor": "middle" }, `t = ${t + 1}`));
    for (let u = 0; u < units; u++) {
      content.push(unitAt(left, u, hidden.values[t * part.units + unit + u], reach, {
        future, pick: { layer: part.layer, name: part.name, timestep: t, unit: unit + u },
        label: `${part.name}, timestep ${t + 1}, unit ${unit + u + 1}`,
      }));
    }
    if (x) {
      content.push(arrow(left + WIDE / 2, bottom + 40, left + WIDE / 2, bottom + 6), s("text", { class: "arrowname", x: left + WIDE / 2 + 8, y: bottom + 28 }, "W"));
      for (let f = 0; f < features; f++) {
        content.push(s("text", { class: "x", x: left + WIDE / 2, y: bottom + 58 + f * 18, "text-anchor": "middle" }, short(x.values[t * x.shape[1] + f])));
      }
    }
  }
  if (x) {
    for (let f = 0; f < features; f++) content.push(s("text", { class: "label", x: start + WIDE, y: bottom + 58 + f * 18, "text-anchor": "end" }, facts ? clip(facts[f].name) : `x${f + 1}`));
    if (x.shape[1] > features) content.push(s("text", { class: "label", x: start + WIDE, y: bottom + 58 + features * 18, "text-anchor": "end" }, `${x.shape[1] - features} more`));
  }
  const height = bottom + (x ? 66 + (features + (x.shape[1] > features ? 1 : 0)) * 18 : 12);
  say(by("unrolled-note"), [
    x?.name ? `x is the ${x.name}.` : "", part.units > units ? `${units} of ${part.units} units are drawn.` : "", backwards ? "This direction reads from the last timestep to the first." : "",
  ].filter(Boolean).join(" "));
  return svgOf(column(steps - 1) + WIDE, height, content, dense.filter((one) => after(one, part)), { y: HEAD + units * HIGH / 2, hidden });
}

const after = (layer, part) => state.now.layers.indexOf(layer) > state.now.layers.findIndex((one) => one.layer === part.layer);
const clip = (text) => (text.length > 14 ? `${text.slice(0, 13)}…` : text);

/** The drawing with the Dense layers at its right, each a column of units of its last timestep. */
function svgOf(right, height, content, dense, from) {
  let x = right;
  for (const layer of dense.slice(0, 4)) {
    const values = layer.tensors.output.values, width = layer.tensors.output.shape.at(-1), timesteps = values.length / width;
    const units = Math.min(width, MOST_UNITS), reach = reachOf(values), left = x + (x > LEFT ? GAP + 20 : 0), t = timesteps - 1;
    if (x > LEFT && (layer === dense[0] || follows(layer, dense[dense.indexOf(layer) - 1]))) content.push(arrow(x + 4, from?.y ?? HEAD + 11, left - 6, from?.y ?? HEAD + 11));
    content.push(s("text", { class: "head", x: left + WIDE / 2, y: 16, "text-anchor": "middle" }, clip(layer.layer)));
    for (let u = 0; u < units; u++) {
      content.push(unitAt(left, u, values[t * width + u], reach, {
        pick: { layer: layer.layer, name: layer.layer, timestep: t, unit: u, dense: true }, label: `${layer.layer}, unit ${u + 1}`,
      }));
    }
    if (width > units) content.push(s("text", { class: "label", x: left, y: HEAD + units * HIGH + 16 }, `${width - units} more`));
    height = Math.max(height, HEAD + units * HIGH + 24);
    x = left + WIDE;
  }
  const width = x + LEFT;
  return s("svg", { class: "diagram", width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "the recurrence, unrolled; each unit is a button that shows its sum" },
    s("defs", {}, s("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, s("path", { d: "M0 0 8 4 0 8z" }))), content);
}

/** Whether a Dense layer can have another one before it: a layer beside it has inputs of another width. */
function follows(layer, before) {
  const kernel = state.weights.find((one) => one.name === `${layer.layer}/kernel`);
  return kernel?.value.shape[0] === before.tensors.output.shape.at(-1);
}

function arrow(x1, y1, x2, y2) {
  return s("line", { class: "arrow", x1, y1, x2, y2, "marker-end": "url(#tip)" });
}

function unitAt(left, u, value, reach, { quiet = false, future = false, pick = null, label = "" }) {
  const y = HEAD + u * HIGH, now = state.picked, chosen = pick && now && now.name === pick.name && now.timestep === pick.timestep && now.unit === pick.unit;
  const choose = () => change({ picked: pick });
  return s("g", {
    class: `unit${quiet ? " quiet" : ""}${future ? " future" : ""}${chosen ? " chosen" : ""}`,
    ...(pick ? {
      tabindex: 0, role: "button", "aria-pressed": String(Boolean(chosen)), "aria-label": `${label}: ${short(value)}`,
      "data-unit": `${pick.name} ${pick.timestep} ${pick.unit}`, onclick: choose,
      onkeydown: (event) => keys(event, pick, choose),
    } : {}),
  },
  s("rect", { x: left, y: y + 1, width: WIDE, height: HIGH - 2, rx: 3, fill: colour(value, reach) }),
  s("text", { x: left + WIDE / 2, y: y + 16, "text-anchor": "middle", fill: inkOn(value, reach) }, short(value)));
}

function keys(event, pick, choose) {
  const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
  if (event.key === "Enter" || event.key === " ") choose();
  else if (step) by("unrolled-body").querySelector(`[data-unit="${CSS.escape(`${pick.name} ${pick.timestep + step[0]} ${pick.unit + step[1]}`)}"]`)?.focus();
  else return;
  event.preventDefault();
}
