// The sum of one unit as a program in NumPy, which prints what the server computed.

import { exact } from "./format.js";
import { inNumpy } from "./activations.js";

const WRAP = 100;

/** A program for a unit: arguments as in sums.js. */
export function program({ picked, part, sums, at, previous, options }) {
  const f = options("activation") || "linear", g = options("recurrent_activation") || "sigmoid";
  const lines = ["import numpy as np", "", `# ${comment(picked.name)}, timestep ${picked.timestep + 1}, unit ${picked.unit + 1}`];
  const names = picked.dense || part.kind === "rnn" ? ["a"] : part.kind === "gru" ? ["z", "r", "c"] : ["i", "f", "g", "o"];
  sums.forEach((sum, k) => {
    const terms = sum.terms, gated = terms.some((term) => Number(term.gate) !== 1), name = names[k];
    lines.push(`${name}_values = ${list(terms.map((term) => term.value))}`, `${name}_weights = ${list(terms.map((term) => term.weight_value))}`);
    if (gated) lines.push(`${name}_reset = ${list(terms.map((term) => term.gate))}  # after the product`);
    lines.push(`${name} = np.sum(${name}_values * ${name}_weights${gated ? ` * ${name}_reset` : ""})`);
  });
  const call = (name, what) => inNumpy(name, what) || `keras.activations.${name}(${what})`;
  if (picked.dense || part.kind === "rnn") lines.push(`h = ${f === "softmax" ? "a  # softmax needs the sums of all units" : call(f, "a")}`);
  else if (part.kind === "gru") {
    lines.push(`z, r, c = ${call(g, "z")}, ${call(g, "r")}, ${call(f, "c")}`, `h_before = ${exact(previous("hidden_state"))}`, "h = z * h_before + (1 - z) * c");
  } else {
    lines.push(`i, f, g, o = ${call(g, "i")}, ${call(g, "f")}, ${call(f, "g")}, ${call(g, "o")}`, `c_before = ${exact(previous("cell_state"))}`,
      "c = f * c_before + i * g", `h = o * ${call(f, "c")}`);
  }
  if (lines.some((line) => line.includes("keras."))) lines[0] = "import keras\nimport numpy as np";
  const served = picked.dense ? Number(sums[0].total) : at("hidden_state");
  lines.push(`print(h)  # ${picked.dense ? "the served sum" : "served"}: ${exact(served)}`, "");
  return lines.join("\n");
}

const comment = (text) => text.replace(/[^\w/ .:@-]/g, "?"); // a name may be anything; a comment ends with its line

function list(values) {
  const items = values.map((value) => exact(Number(value))), rows = [[]];
  for (const item of items) {
    if (rows.at(-1).join(", ").length + item.length > WRAP) rows.push([]);
    rows.at(-1).push(item);
  }
  return rows.length === 1 ? `np.array([${rows[0].join(", ")}])` : `np.array([\n    ${rows.map((row) => row.join(", ")).join(",\n    ")},\n])`;
}
