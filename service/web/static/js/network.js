// What is known of a network from its traces and its weights: which layers carry a state, and what their gates are.

const GATES = {
  gru: ["update", "reset", "candidate"],
  lstm: ["input", "forget", "candidate", "output"],
  rnn: [],
};
export const GATE_TENSORS = ["input_gate", "forget_gate", "output_gate", "update_gate", "reset_gate", "candidate"];

/**
 * The recurrent parts of a trace, each direction and cell by itself:
 * {layer, prefix, name, kind, units, timesteps, gates, tensor(name)}; `name` is what sums and weights go by.
 */
export function parts(trace) {
  const found = [];
  for (const layer of trace?.layers ?? []) {
    for (const key of Object.keys(layer.tensors)) {
      if (!key.endsWith("hidden_state")) continue;
      const prefix = key.slice(0, -"hidden_state".length), { shape } = layer.tensors[key];
      if (shape.length !== 2) continue; // convolutional states have no units to write out
      const has = (name) => `${prefix}${name}` in layer.tensors;
      const kind = has("update_gate") ? "gru" : has("forget_gate") ? "lstm" : "rnn";
      found.push({
        layer: layer.layer, prefix, name: (`${layer.layer}/${prefix}`).replace(/\/$/, ""), class_name: layer.class_name,
        kind, timesteps: shape[0], units: shape[1], gates: GATES[kind], tensor: (name) => layer.tensors[`${prefix}${name}`],
      });
    }
  }
  return found;
}

/** The Dense layers of a trace whose sums can be written out. */
export function denses(trace) {
  return (trace?.layers ?? []).filter((layer) => layer.class_name === "Dense" && layer.tensors.pre_activation
    && layer.tensors.pre_activation.shape.length <= 2);
}

/** The groups of columns of a weight, where it has gates: [{name, start, stop}]. */
export function gatesOf(weight, trace) {
  const cut = weight.name.lastIndexOf("/");
  const part = parts(trace).find((one) => one.name === weight.name.slice(0, cut));
  if (!part || !part.gates.length) return [];
  const columns = weight.value.shape.at(-1);
  if (columns !== part.gates.length * part.units) return [];
  return part.gates.map((name, i) => ({ name, start: i * part.units, stop: (i + 1) * part.units }));
}

/** Rows and columns as which an array is shown: the last axis goes along columns, all before it along rows. */
export function asMatrix(shape) {
  if (shape.length === 0) return [1, 1];
  const columns = shape.at(-1);
  return [shape.slice(0, -1).reduce((a, b) => a * b, 1), columns];
}

/** The values of a weight after some changes, computed as the server does, in single precision. */
export function applied(weight, nudges) {
  const own = nudges.filter((nudge) => nudge.weight === weight.name);
  if (!own.length) return { values: weight.value.values, marks: new Set() };
  const values = weight.value.values.slice(), marks = new Set();
  for (const { operation, ranges, value } of own) {
    for (const k of indices(weight.value.shape, ranges)) {
      values[k] = operation === "set" ? value : operation === "add" ? values[k] + Math.fround(value) : values[k] * Math.fround(value);
      marks.add(k);
    }
  }
  return { values, marks };
}

/** The places of the elements that ranges select, in row-major order. */
export function indices(shape, ranges) {
  let found = [0];
  shape.forEach((extent, axis) => {
    const [start, stop] = ranges?.[axis] ?? [0, 0];
    const [from, to] = start === 0 && stop === 0 ? [0, extent] : [start, Math.min(stop, extent)];
    const next = [];
    for (const before of found) for (let i = from; i < to; i++) next.push(before * extent + i);
    found = next;
  });
  return found;
}

/** Ranges that select one element. */
export function rangesAt(shape, k) {
  const ranges = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const i = k % shape[axis];
    ranges.unshift([i, i + 1]);
    k = Math.floor(k / shape[axis]);
  }
  return ranges;
}

/** What ranges select, as people write it: `[0, 2]`, `[:, 3]`. */
export function selection(shape, ranges) {
  if (!ranges?.length || !shape?.length) return "";
  const text = ranges.map(([start, stop], axis) => start === 0 && (stop === 0 || stop === shape[axis]) && shape[axis] !== 1 ? ":"
    : stop === start + 1 ? String(start) : `${start}:${stop}`);
  return `[${text.join(", ")}]`;
}

/** Values turned by a quarter: of [timesteps, units] the units as rows. */
export function transposed({ shape, values }) {
  const [rows, columns] = shape, turned = new values.constructor(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = values[i * columns + j];
  return { shape: [columns, rows], values: turned };
}
