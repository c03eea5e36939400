// What the page shows, who wants to know of changes, and the address that holds it.

import { isText } from "./api.js";
import { indices } from "./network.js";

export const state = {
  server: null, // what /api/state says
  away: "", // why there are no answers at the moment; empty: there are
  models: [],
  model: "",
  version: "",
  info: null, // the shown version, as the server describes it
  examples: null,
  input: {}, // by name of the input: {shape, values} of one sequence
  weights: [], // {name, value: {shape, values}, statistics}
  digest: "",
  nudges: [], // {weight, operation, ranges, value}
  news: "", // what happened in the registry
  loading: false,
  patches: [], // {layer, tensor, timesteps, units, operation, value}
  base: null, // the trace without changes
  now: null, // the trace with them; the same object where there are none
  failure: null, // of the last question
  picked: null, // the unit whose sum is shown: {layer, tensor, timestep, unit}
  step: null, // while it is played: the timestep that was reached
  registry: [], // all versions of the model in the registry
};

const listeners = [];

/** Calls `then` after each change of one of these keys. */
export function on(keys, then) {
  listeners.push([keys.split(" "), then]);
}

/** Changes the state, then tells those who listen, each once, where something is another value than before. */
export function change(changes) {
  const changed = Object.keys(changes).filter((key) => !Object.is(state[key], changes[key]));
  Object.assign(state, changes);
  for (const [keys, then] of listeners) if (keys.some((key) => changed.includes(key))) then();
}

export const modelNow = () => state.models.find((model) => model.name === state.model);
export const changed = () => state.nudges.length + state.patches.length > 0;

/** Whether a nudge leaves its weight as it is, as one does that was just picked. */
export function idle({ weight, operation, ranges, value }) {
  if (operation !== "set") return value === (operation === "add" ? 0 : 1);
  const found = state.weights.find((one) => one.name === weight);
  return Boolean(found) && indices(found.value.shape, ranges).every((k) => found.value.values[k] === Math.fround(value));
}

/** Whether the changes change anything. */
export const differs = () => state.patches.length > 0 || state.nudges.some((one) => !idle(one));

/** Whether the page may do what needs these roles; else a sentence that says why not. */
export function forbidden(...roles) {
  if (state.server?.read_only) return "This page was started with --read-only.";
  const known = state.server?.server?.roles;
  const missing = known ? roles.filter((role) => !known.includes(role)) : [];
  return missing.length ? `The server does not give this page the role ${missing.join(" and ")}.` : "";
}

const LONGEST_SHARED = 4000; // numbers or characters of an input that the address holds

/** What the address holds, from the part behind its #. */
export function fromAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  const found = { model: query.get("model") ?? "", version: query.get("version") ?? "" };
  for (const [key, check] of [["input", isInput], ["nudges", isList], ["patches", isList]]) {
    try {
      const value = JSON.parse(query.get(key) ?? "null");
      if (check(value)) found[key] = value;
    } catch { /* an address that somebody shortened: the rest of it still counts */ }
  }
  return found;
}

let writing = 0;
/** Writes the look into the address, soon and once for many changes. */
export function toAddress() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const query = new URLSearchParams({ model: state.model, version: state.version });
    const size = Object.values(state.input).reduce((sum, one) => sum + (isText(one.values) ? one.values.join("").length : one.values.length), 0);
    if (size && size <= LONGEST_SHARED) {
      query.set("input", JSON.stringify(Object.fromEntries(Object.entries(state.input).map(([name, one]) => [name, [one.shape, Array.from(one.values, (v) => (typeof v === "string" ? v : +v.toPrecision(9)))]]))));
    }
    if (state.nudges.length) query.set("nudges", JSON.stringify(state.nudges));
    if (state.patches.length) query.set("patches", JSON.stringify(state.patches));
    history.replaceState(null, "", `${location.pathname}#${query}`);
  }, 300);
}

function isInput(value) {
  return value && typeof value === "object" && Object.values(value).every((one) =>
    Array.isArray(one) && Array.isArray(one[0]) && Array.isArray(one[1]) && (one[1].every(Number.isFinite) || one[1].every((v) => typeof v === "string"))
    && one[0].reduce((a, b) => a * b, 1) === one[1].length);
}

function isList(value) {
  return Array.isArray(value) && value.length <= 4096 && value.every((one) => one && typeof one === "object" && Number.isFinite(one.value ?? 0)
    && (one.ranges === undefined || (Array.isArray(one.ranges) && one.ranges.every((r) => Array.isArray(r) && r.every(Number.isInteger)))));
}
