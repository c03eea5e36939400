// The section "Weights": every weight as colours, cut into its gates; picking an element nudges it.

import { h, by, put } from "./dom.js";
import { state, on } from "./store.js";
import { applied, asMatrix, gatesOf, indices, rangesAt, selection } from "./network.js";
import { count, exact, onTheme, reachOf, show } from "./format.js";
import { Heatmap } from "./heatmap.js";
import { nudge, nudgeAt } from "./changes.js";
import { columnFacts } from "./examples.js";

const STEP = 0.01; // of the largest element, that + and - nudge by

let maps = new Map();
let built = null;
let chosen = null; // the element whose row, column and gate are offered: {name, place}

export function weights() {
  on("weights now nudges away", draw);
  on("info", () => { chosen = null; put(by("weight-form")); });
  onTheme(() => { for (const map of maps.values()) map.repaint(); });
}

function draw() {
  by("weights").classList.toggle("stale", Boolean(state.away));
  const ready = Boolean(state.now), key = [state.weights, ready];
  if (!built || built[0] !== key[0] || built[1] !== key[1]) {
    built = key;
    maps = new Map();
    put(by("weights-body"), state.weights.map(figure));
  }
  for (const weight of state.weights) {
    const map = maps.get(weight.name), { values, marks } = applied(weight, state.nudges), [rows, columns] = asMatrix(weight.value.shape);
    if (map.given && map.given.nudges === JSON.stringify(state.nudges.filter((one) => one.weight === weight.name)) && !map.dirty) continue;
    map.given = { nudges: JSON.stringify(state.nudges.filter((one) => one.weight === weight.name)) };
    map.dirty = false;
    map.marks = marks;
    map.show({
      rows, columns, values, reach: reachOf(weight.value.values), marked: (k) => marks.has(k),
      picked: chosen?.name === weight.name ? chosen.place : -1,
    });
  }
}

function figure(weight) {
  const { shape } = weight.value, [, columns] = asMatrix(shape), groups = gatesOf(weight, state.now), stat = weight.statistics;
  const last = weight.name.split("/").at(-1), size = groups.length ? groups[0].stop : columns;
  const map = new Heatmap({
    label: weight.name, groups,
    row: (i) => (last === "kernel" ? rowName(weight, i) : last === "recurrent_kernel" ? `h${i + 1}` : shape.length < 2 ? "" : String(i + 1)) || "bias",
    column: (j) => String(j % size + 1),
    onpick: (i, j) => pick(weight, i * columns + j),
    onkey: (i, j, event) => keyed(weight, i * columns + j, event),
  });
  maps.set(weight.name, map);
  const radius = (stat.spectral_radius ?? []).map((value) => show(Number(value), 3)).join(", ");
  return h("figure", { class: "map" },
    h("figcaption", {}, h("b", {}, weight.name), ` ${shape.join(" × ") || "1"}`,
      h("span", { class: "hint" }, ` mean ${show(Number(stat.mean), 3)}, from ${show(Number(stat.min), 3)} to ${show(Number(stat.max), 3)}${radius ? `, spectral radius ${radius}` : ""}${Number(stat.non_finite) ? `, ${count(Number(stat.non_finite), "element")} not finite` : ""}`)),
    map.element);
}

function rowName(weight, i) {
  const first = state.weights[0]?.name === weight.name, facts = first ? columnFacts(state.examples, weight.value.shape[0]) : null;
  return facts ? facts[i].name : `x${i + 1}`;
}

/** Offers the element, its row, its column and its gate, and nudges the element itself. */
function pick(weight, place) {
  chosen = { name: weight.name, place };
  for (const map of maps.values()) map.dirty = true;
  const { shape } = weight.value, ranges = rangesAt(shape, place);
  if (!nudgeAt(weight.name, ranges)) nudge({ weight: weight.name, operation: "set", ranges, value: valueOf(weight, place) });
  else draw();
  form(weight, place, ranges);
}

const valueOf = (weight, place) => applied(weight, state.nudges).values[place];

/** + and - by a hundredth of the largest element, digits begin a number in the list of changes. */
function keyed(weight, place, event) {
  const direction = { "+": 1, "=": 1, "-": -1, _: -1 }[event.key];
  if (!direction) return false;
  const value = valueOf(weight, place) + direction * STEP * reachOf(weight.value.values) * (event.shiftKey && event.key === "_" ? 10 : 1);
  chosen = { name: weight.name, place };
  maps.get(weight.name).dirty = true;
  nudge({ weight: weight.name, operation: "set", ranges: rangesAt(weight.value.shape, place), value: Number(value.toPrecision(7)) });
  return true;
}

function form(weight, place, ranges) {
  const { shape } = weight.value, groups = gatesOf(weight, state.now), column = place % (shape.at(-1) ?? 1);
  const gate = groups.find((one) => column >= one.start && column < one.stop), free = () => shape.map((extent) => [0, extent]);
  const choices = [["this element", ranges]];
  if (shape.length === 2) {
    choices.push([`row ${ranges[0][0] + 1}`, [ranges[0], [0, shape[1]]]], [`column ${column + 1}`, [[0, shape[0]], ranges[1]]]);
    if (gate) choices.push([`${gate.name} gate`, [[0, shape[0]], [gate.start, gate.stop]]], [`row ${ranges[0][0] + 1} of the ${gate.name} gate`, [ranges[0], [gate.start, gate.stop]]]);
  } else if (shape.length === 1 && gate) choices.push([`${gate.name} gate`, [[gate.start, gate.stop]]]);
  if (shape.length) choices.push(["the whole weight", free()]);
  const what = h("select", { "aria-label": "which elements" }, choices.map(([name], k) => h("option", { value: k }, name)));
  const how = h("select", { "aria-label": "how" }, ["set", "add", "scale"].map((one) => h("option", { value: one }, one)));
  const number = h("input", { type: "number", step: "any", class: "number", "aria-label": "number", value: exact(Number(valueOf(weight, place).toPrecision(7))) });
  how.addEventListener("change", () => { number.value = how.value === "scale" ? 1 : how.value === "add" ? 0 : valueOf(weight, place); });
  what.addEventListener("change", () => { if (what.value !== "0" && how.value === "set") { how.value = "scale"; number.value = 1; } });
  put(by("weight-form"), h("form", {
    class: "row tools", "aria-label": `change elements of ${weight.name}`,
    onsubmit: (event) => {
      event.preventDefault();
      if (Number.isFinite(number.valueAsNumber)) nudge({ weight: weight.name, operation: how.value, ranges: choices[Number(what.value)][1], value: number.valueAsNumber });
    },
  }, h("code", {}, `${weight.name}${selection(shape, ranges)}`), how, what, number, h("button", {}, "Apply"),
  h("span", { class: "hint" }, indices(shape, ranges).length === 1 ? "keys + and − nudge it" : "")));
}
