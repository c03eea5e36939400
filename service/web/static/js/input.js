// The section "Input": one sequence, edited cell by cell, pasted, dropped, drawn, or cut out of a file.

import { h, by, put, say, copy } from "./dom.js";
import { state, change, on } from "./store.js";
import { ask } from "./live.js";
import { count, exact, short } from "./format.js";
import { read, columnsFor } from "./reading.js";
import { Sketch } from "./sketch.js";
import { columnFacts, exampleInputs, takesText } from "./examples.js";
import { isText, packed } from "./api.js";
import * as texts from "./texts.js";

const SHOWN = 60; // timesteps of a long sequence whose cells are shown at once
const MOST_TIMESTEPS = 2000;

let from = {}; // by input: the first timestep that is shown
let file = null; // rows of a file, of which windows are cut: {name, rows by input, window}
let built = ""; // of what shape the cells are
const cells = new Map();
let sketch = null;

export function input() {
  on("info", () => { file = null; from = {}; built = ""; });
  on("info input examples", draw);
  by("input-example").addEventListener("click", () => { file = null; setInput(exampleInputs(state.info, state.examples)); });
  by("input-copy").addEventListener("click", () => copy(asJson(), by("input-copy")));
  by("input-file").addEventListener("change", async (event) => { const [one] = event.target.files; if (one) take(await one.text(), one.name); event.target.value = ""; });
  by("input-open").addEventListener("click", () => by("input-file").click());
  const card = by("input");
  card.addEventListener("dragover", (event) => { event.preventDefault(); card.classList.add("dropping"); });
  card.addEventListener("dragleave", () => card.classList.remove("dropping"));
  card.addEventListener("drop", async (event) => {
    event.preventDefault();
    card.classList.remove("dropping");
    const [one] = event.dataTransfer.files;
    take(one ? await one.text() : event.dataTransfer.getData("text"), one?.name ?? "what was dropped");
  });
  card.addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text");
    if (!/[\n,;\t[{ ]/.test(text.trim())) return; // one number goes into its cell
    if (event.target.tagName === "TEXTAREA" && !texts.namesInputs(text, state.info.inputs)) return;
    event.preventDefault();
    take(text, "what was pasted", event.target.dataset?.cell);
  });
  by("window").addEventListener("input", () => { file.window = Number(by("window").value); cut(); });
}

/** Sets the whole input and asks. */
export function setInput(given) {
  change({ input: given });
  ask({ base: true });
}

/** Whether an input fits what the version takes. */
export function fits(given, info) {
  return info.inputs.every((spec) => {
    const one = given[spec.name], shape = spec.shape.slice(1).map(Number);
    return one && isText(one.values) === takesText(spec) && one.shape.length === shape.length && shape.every((extent, axis) => extent === -1 || extent === one.shape[axis]);
  }) && Object.keys(given).length === info.inputs.length;
}

function draw() {
  if (!state.info || !Object.keys(state.input).length) return;
  const shape = JSON.stringify([state.version, Object.entries(state.input).map(([name, one]) => [name, one.shape]), from, Boolean(file), Boolean(state.examples)]);
  if (shape !== built) {
    built = shape;
    build();
  }
  for (const [key, cell] of cells) {
    const [name, k] = key.split("\u0000"), value = state.input[name].values[k];
    if (document.activeElement !== cell) cell.value = typeof value === "string" ? value : exact(value).replace("np.", "");
    if (typeof value !== "string") mark(cell, name, Number(k), value);
  }
  if (sketch) sketch.show(Array.from(Object.values(state.input)[0].values), columnFacts(state.examples, 1)[0].range);
  by("window-row").hidden = !file || file.last === 0;
  if (file) {
    by("window").max = file.last;
    by("window").value = file.window;
    say(by("window-text"), `rows ${file.window + 1}–${file.window + file.length} of ${file.total} in ${file.name}`);
  }
}

function build() {
  cells.clear();
  sketch = null;
  say(by("input-hint"), state.info.inputs.every(takesText) ? "Type a text, or drop a file with one." : "Edit a cell, paste or drop CSV or JSON.");
  put(by("input-body"), state.info.inputs.map((spec) => {
    const one = state.input[spec.name];
    if (!one) return null;
    if (takesText(spec)) return textual(spec, one);
    const [timesteps, features] = grid(one.shape), start = Math.min(from[spec.name] ?? 0, Math.max(0, timesteps - SHOWN)), stop = Math.min(timesteps, start + SHOWN);
    const facts = factsOf(spec.name, features), ids = /INT/.test(spec.data_type);
    const only = state.info.inputs.length === 1 && features === 1 && timesteps > 1 && !ids;
    if (only) sketch = new Sketch("the sequence as a line; draw on it to change it, or edit the cells below", (points) => drawn(spec.name, points));
    const steps = Array.from({ length: stop - start }, (_, k) => start + k);
    return h("div", { class: "input" },
      state.info.inputs.length > 1 ? h("h3", {}, spec.name) : null,
      h("p", { class: "hint" }, `${count(timesteps, "timestep")} × ${count(features, "feature")}${ids ? ", whole numbers (ids)" : ""}`),
      only ? sketch.element : null,
      timesteps > SHOWN ? pager(spec.name, start, stop, timesteps) : null,
      h("div", { class: "scroll cells-of" }, h("table", { class: "cells" },
        h("caption", { class: "offscreen" }, `Input ${spec.name}: a row for each feature, a column for each timestep`),
        h("thead", {}, h("tr", {}, h("td", {}), steps.map((t) => h("th", { scope: "col" }, t + 1)))),
        h("tbody", {}, Array.from({ length: Math.min(features, 64) }, (_, f) => h("tr", {},
          h("th", { scope: "row" }, facts[f].name, facts[f].unit ? h("small", {}, ` ${facts[f].unit}`) : null),
          steps.map((t) => h("td", {}, cellOf(spec.name, t, f, features, facts[f], ids)))))))),
      features > 64 ? h("p", { class: "hint" }, `64 of ${features} features are shown; paste JSON to change the others.`) : null,
      resizable(spec) ? lengthTools(spec.name, timesteps) : null);
  }));
}

/** What is known of the columns of an input. */
export const factsOf = (name, features) => columnFacts(state.examples, features, state.info.inputs.length > 1 ? name : "");

function textual(spec, { values }) {
  return h("div", { class: "input" },
    state.info.inputs.length > 1 ? h("h3", {}, spec.name) : null,
    texts.fields(spec, values, (k, text) => set(spec.name, [[k, text]]), (k, field) => cells.set(`${spec.name}\u0000${k}`, field)),
    resizable(spec) ? lengthTools(spec.name, values.length) : null);
}

function cellOf(name, t, f, features, facts, ids) {
  const k = t * features + f;
  const cell = h("input", {
    type: "text", inputmode: ids ? "numeric" : "decimal", autocomplete: "off", "aria-label": `${facts.name}, timestep ${t + 1}`,
    oninput: () => {
      const value = Number(cell.value.replace("−", "-").replace(",", "."));
      const good = cell.value.trim() !== "" && Number.isFinite(value) && (!ids || Number.isInteger(value));
      cell.setAttribute("aria-invalid", String(!good));
      if (good) set(name, [[k, value]]);
    },
    onblur: () => { cell.value = exact(state.input[name].values[k]); cell.setAttribute("aria-invalid", "false"); },
    onkeydown: (event) => {
      const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], Enter: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
      if (!step) return;
      const edge = event.key === "ArrowLeft" ? cell.selectionEnd === 0 : event.key === "ArrowRight" ? cell.selectionStart === cell.value.length : true;
      const next = cells.get(`${name}\u0000${(t + step[0]) * features + f + step[1]}`);
      if (!edge || !next || (step[1] && (f + step[1] < 0 || f + step[1] >= features))) return;
      event.preventDefault();
      next.focus();
      next.select();
    },
  });
  cell.dataset.cell = `${name}\u0000${t}`;
  cells.set(`${name}\u0000${k}`, cell);
  return cell;
}

function mark(cell, name, k, value) {
  const features = grid(state.input[name].shape)[1], { range } = factsOf(name, features)[k % features];
  const outside = range && (value < range[0] || value > range[1]);
  if (cell.classList.contains("outside") === Boolean(outside)) return;
  cell.classList.toggle("outside", Boolean(outside));
  const text = outside ? `outside of the training range, ${short(range[0])} to ${short(range[1])}` : "";
  cell.title = text;
  if (text) cell.setAttribute("aria-description", text); else cell.removeAttribute("aria-description");
}

function set(name, changes) {
  const one = state.input[name], values = one.values.slice();
  for (const [k, value] of changes) values[k] = value;
  change({ input: { ...state.input, [name]: { ...one, values } } });
  ask({ base: true });
}

function drawn(name, points) {
  set(name, points);
}

function pager(name, start, stop, timesteps) {
  const go = (to) => { from = { ...from, [name]: Math.max(0, Math.min(timesteps - SHOWN, to)) }; draw(); };
  return h("div", { class: "row tools" },
    h("button", { type: "button", class: "small", disabled: start === 0, onclick: () => go(start - SHOWN) }, "Before"),
    h("span", { class: "hint" }, `timesteps ${start + 1}–${stop} of ${timesteps}`),
    h("button", { type: "button", class: "small", disabled: stop === timesteps, onclick: () => go(start + SHOWN) }, "After"));
}

const resizable = (spec) => spec.shape.length >= 2 && Number(spec.shape[1]) === -1;

function lengthTools(name, timesteps) {
  const resize = (length) => {
    const given = Object.fromEntries(Object.entries(state.input).map(([key, one]) => [key, one.shape[0] === timesteps ? resized(one, length) : one]));
    setInput(given);
  };
  return h("div", { class: "row tools" },
    h("button", { type: "button", class: "small", onclick: () => resize(timesteps + 1), disabled: timesteps >= MOST_TIMESTEPS }, "Add timestep"),
    h("button", { type: "button", class: "small", onclick: () => resize(timesteps - 1), disabled: timesteps < 2 }, "Remove last"));
}

/** A sequence of another length; a longer one repeats its last timestep. */
function resized({ shape, values }, length) {
  const size = values.length / shape[0];
  const made = Array.from({ length: length * size }, (_, k) => values[Math.min(Math.floor(k / size), shape[0] - 1) * size + k % size]);
  return { shape: [length, ...shape.slice(1)], values: packed(made) };
}

/** Timesteps and numbers at each. */
export function grid(shape) {
  return shape.length ? [shape[0], shape.slice(1).reduce((a, b) => a * b, 1)] : [1, 1];
}

/** Takes what was pasted, dropped or chosen. cell: where it was pasted, which a few numbers only fill from there on. */
function take(given, name, cell) {
  const text = given.replace(/^\uFEFF/, "");
  try {
    const numeric = state.info.inputs.find((spec) => !takesText(spec));
    if (texts.namesInputs(text, state.info.inputs)) takeNamed(JSON.parse(text));
    else if (!numeric) takeTexts(text);
    else {
      const [key, t] = (cell ?? "").split("\u0000");
      const found = read(text);
      if (found.inputs) throw new Error(`It names no input of this version: ${state.info.inputs.map((spec) => spec.name).join(", ")}.`);
      takeRows(found, name, cell ? key : numeric.name, cell ? Number(t) : 0, Boolean(cell));
    }
    say(by("input-note"), file ? `Took ${count(file.total, "row")} of ${name}.` : `Took ${name}.`);
    by("input-note").className = "hint";
  } catch (error) {
    say(by("input-note"), `${name} was not taken. ${error.message}`);
    by("input-note").className = "hint bad";
  }
}

function takeTexts(text) {
  const [spec] = state.info.inputs, given = texts.read(text, state.input[spec.name].values.length > 1 || resizable(spec));
  file = null;
  setInput({ ...state.input, [spec.name]: texts.shaped(given, spec) });
}

function takeNamed(document) {
  const given = { ...state.input }, inputs = document.inputs ?? document;
  for (const spec of state.info.inputs) {
    if (!(spec.name in inputs)) continue;
    if (takesText(spec)) {
      given[spec.name] = texts.shaped(inputs[spec.name], spec);
      continue;
    }
    const found = read(JSON.stringify(inputs[spec.name])), rows = columnsFor(found, grid(state.input[spec.name].shape)[1]);
    given[spec.name] = shaped(rows, spec);
  }
  file = null;
  setInput(given);
}

/** How many timesteps a window of a file has: as many as in training, else as the version's own example. */
const usual = (timesteps) => Number(state.examples?.window) || Object.values(exampleInputs(state.info, state.examples))[0]?.shape[0] || timesteps;

function takeRows(found, name, key, t, cell) {
  const spec = state.info.inputs.find((one) => one.name === key), now = state.input[key], [timesteps, features] = grid(now.shape);
  const names = columnFacts(state.examples, features).map((fact) => fact.name);
  const rows = found.windows ? found.windows[0] : spreadOut(found, features, names);
  if (found.windows) {
    const all = found.windows.map((one) => columnsFor({ columns: null, rows: one }, features));
    file = { name, key, rows: all.flat(), window: 0, length: all[0].length, step: all[0].length, total: all.flat().length, last: all.flat().length - all[0].length };
    return cut();
  }
  const fixed = Number(spec.shape[1] ?? 1) !== -1;
  if (rows.length < timesteps - t && fixed) { // a few numbers fill the cells from where they were pasted
    file = null;
    return set(key, rows.flatMap((row, i) => row.map((value, f) => [(t + i) * features + f, value])));
  }
  const length = fixed ? timesteps : Math.min(rows.length, cell ? MOST_TIMESTEPS : usual(timesteps));
  file = { name, key, rows, window: 0, length, total: rows.length, last: rows.length - length };
  cut();
}

function spreadOut(found, features, names) {
  if (features === 1 && found.rows.length === 1 && found.rows[0].length > 1) return found.rows[0].map((value) => [value]); // one line
  return columnsFor(found, features, names);
}

/** Takes the chosen window of the file as the input. */
function cut() {
  const spec = state.info.inputs.find((one) => one.name === file.key);
  setInput({ ...state.input, [file.key]: shaped(file.rows.slice(file.window, file.window + file.length), spec) });
}

function shaped(rows, spec) {
  const rest = spec.shape.slice(2).map(Number), values = Float64Array.from(rows.flat());
  return { shape: spec.shape.length < 2 ? [] : [rows.length, ...rest], values };
}

function asJson() {
  return JSON.stringify(Object.fromEntries(Object.entries(state.input).map(([name, { shape, values }]) => {
    const [rows, columns] = grid(shape), list = Array.from({ length: rows }, (_, t) => Array.from(values.slice(t * columns, (t + 1) * columns)));
    return [name, shape.length === 1 ? list.flat() : list];
  })));
}
