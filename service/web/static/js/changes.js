// The list of changes for this page only: nudges of weights and patches of states, each with its number, and undo.

import { h, by, put } from "./dom.js";
import { state, change, on, changed } from "./store.js";
import { ask } from "./live.js";
import { show } from "./format.js";
import { indices, selection } from "./network.js";
import { describePatch } from "./patching.js";

const MOST_UNDONE = 200;

let past = []; // the lists as they were before each step
let built = "";
const rows = new Map();

export function changes() {
  on("nudges patches weights info", draw);
  by("undo").addEventListener("click", undo);
  by("reset").addEventListener("click", () => set({ nudges: [], patches: [] }));
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) { event.preventDefault(); undo(); }
  });
}

/** Sets the lists, in one step that can be undone; `held` joins it to the step before, as while a slider moves. */
export function set({ nudges = state.nudges, patches = state.patches, held = false }) {
  if (!held) {
    past.push([state.nudges, state.patches]);
    if (past.length > MOST_UNDONE) past.shift();
  }
  change({ nudges, patches });
  ask();
}

export function undo() {
  const before = past.pop();
  if (!before) return;
  change({ nudges: before[0], patches: before[1] });
  ask();
}

export function forget() {
  past = [];
}

const same = (a, b) => a.weight === b.weight && JSON.stringify(a.ranges) === JSON.stringify(b.ranges);

/** The nudge of a selection of a weight, if there is one. */
export function nudgeAt(weight, ranges) {
  return state.nudges.find((one) => same(one, { weight, ranges }));
}

/** Changes the elements that ranges select, in place of an earlier change of the same ones. */
export function nudge(made, held = false) {
  const found = state.nudges.findIndex((one) => same(one, made));
  const nudges = found < 0 ? [...state.nudges, made] : state.nudges.map((one, k) => (k === found ? made : one));
  set({ nudges, held });
}

export function addPatch(patch) {
  set({ patches: [...state.patches, patch] });
}

function draw() {
  by("undo").disabled = !past.length;
  by("reset").disabled = !changed();
  by("changes-none").hidden = changed();
  const keys = [...state.nudges.map((one) => JSON.stringify([one.weight, one.ranges, one.operation])), ...state.patches.map((one) => JSON.stringify(one))];
  const shape = keys.join("\n") + state.weights.length;
  if (shape !== built) {
    built = shape;
    rows.clear();
    put(by("changes-body"), state.nudges.map(nudgeRow), state.patches.map(patchRow));
  }
  for (const one of state.nudges) rows.get(JSON.stringify([one.weight, one.ranges, one.operation]))?.(one.value);
}

function nudgeRow(made) {
  const weight = state.weights.find((one) => one.name === made.weight), shape = weight?.value.shape;
  const name = `${made.weight}${selection(shape, made.ranges)}`;
  const places = weight ? indices(shape, made.ranges) : [], single = made.operation === "set" && weight, old = single ? valueAt(weight, made.ranges) : made.operation === "scale" ? 1 : 0;
  const reach = made.operation === "scale" ? 1 : Math.max(1, 2 * Math.abs(old));
  const [low, high] = made.operation === "scale" ? [-1, 3] : [old - reach, old + reach];
  const again = (value, held) => nudge({ ...made, value }, held);
  let dragging = false;
  const slider = h("input", {
    type: "range", min: low, max: high, step: "any", "aria-label": `${name}, slider`,
    oninput: () => { again(slider.valueAsNumber, dragging); dragging = true; }, onchange: () => { dragging = false; },
    onkeydown: (event) => {
      const by_ = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 }[event.key];
      if (!by_) return;
      event.preventDefault(); // "any" would make steps that no one can follow
      again(Number((slider.valueAsNumber + by_ * (high - low) / 200).toPrecision(6)));
    },
  });
  const number = h("input", {
    type: "number", step: "any", class: "number", "aria-label": `${name}, new value`,
    onchange: () => { if (Number.isFinite(number.valueAsNumber)) again(number.valueAsNumber); },
  });
  rows.set(JSON.stringify([made.weight, made.ranges, made.operation]), (value) => {
    slider.value = value;
    if (document.activeElement !== number) number.value = Number(value.toPrecision(7));
  });
  return h("li", { class: "change" },
    h("div", { class: "row between" }, h("code", {}, name), remove(() => set({ nudges: state.nudges.filter((one) => !same(one, made)) }), name)),
    h("div", { class: "row" }, h("span", { class: "hint" }, made.operation !== "set" ? made.operation : places.length > 1 ? `set, ${places.length} elements` : `was ${show(old, 6)}`), slider, number));
}

function patchRow(patch) {
  const text = describePatch(patch);
  return h("li", { class: "change" }, h("div", { class: "row between" }, h("span", {}, text), remove(() => set({ patches: state.patches.filter((one) => one !== patch) }), text)));
}

const remove = (then, what) => h("button", { type: "button", class: "small", "aria-label": `take back ${what}`, onclick: then }, "Take back");

function valueAt(weight, ranges) {
  return weight.value.values[weight.value.shape.reduce((place, extent, axis) => place * extent + (ranges[axis]?.[0] ?? 0), 0)] ?? 0;
}
