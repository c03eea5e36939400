// The sum of one unit, written out with the numbers that the server multiplied, and as a program in NumPy.

import { h, by, put, copy } from "./dom.js";
import { post, arraysOfOne } from "./api.js";
import { state, on } from "./store.js";
import { subject } from "./live.js";
import { parts } from "./network.js";
import { show, exact } from "./format.js";
import { activated } from "./activations.js";
import { program } from "./numpy.js";

const MOST_TERMS = 40; // of a sum that are listed at once

let round = 0;

export function sums() {
  on("picked now", refresh);
}

async function refresh() {
  const picked = state.picked, mine = ++round;
  if (!picked || !state.now?.layers.length) {
    put(by("sum"), h("p", { class: "hint" }, "Choose a unit above to read its sum, with the numbers that the server multiplied."));
    return;
  }
  try {
    const found = await written(picked);
    if (mine === round) put(by("sum"), found ? panel(found) : h("p", { class: "hint" }, "This unit is not in the trace any more."));
  } catch (error) {
    if (mine === round) put(by("sum"), h("p", { class: "hint bad" }, `The sum cannot be shown: ${error.message}`));
  }
}

/** The sums behind a unit and everything that is made of them, or null where the trace has no such unit. */
async function written(picked) {
  const part = picked.dense ? null : parts(state.now).find((one) => one.name === picked.name);
  if (!picked.dense && (!part || picked.timestep >= part.timesteps || picked.unit >= part.units)) return null;
  const backwards = part?.prefix.startsWith("backward/");
  const order = backwards ? part.timesteps - 1 - picked.timestep : picked.timestep; // in which the layer processes it
  const columns = part?.gates.length ? part.gates.map((_, i) => i * part.units + picked.unit) : [picked.unit];
  const asked = columns.map((column) => [picked.name, order, column]);
  const answer = await post("trace", { ...subject(), layers: [picked.layer], sums: asked });
  const tensors = arraysOfOne(answer.layers[0].tensors), prefix = part?.prefix ?? "";
  const at = (name) => tensors[`${prefix}${name}`]?.values[picked.timestep * (part?.units ?? width(tensors)) + picked.unit];
  const before = backwards ? picked.timestep + 1 : picked.timestep - 1;
  const previous = (name) => (before < 0 || before >= (part?.timesteps ?? 0) ? 0 : tensors[`${prefix}${name}`].values[before * part.units + picked.unit]);
  const options = optionsOf(picked.layer, prefix);
  const row = tensors.pre_activation?.values.slice(picked.timestep * width(tensors), (picked.timestep + 1) * width(tensors));
  return { picked, part, sums: answer.sums, at, previous, options, row: row ?? [] };
}

const width = (tensors) => tensors.pre_activation?.shape.at(-1) ?? 1;

/** The options of a layer that its computation depends on; those of a direction or a cell have its prefix. */
function optionsOf(layer, prefix) {
  const all = state.info?.layers.find((one) => layer === one.name || layer.startsWith(`${one.name}/`))?.options ?? {};
  return (name) => all[`${prefix}${name}`] ?? all[name] ?? "";
}

function panel({ picked, part, sums, at, previous, options, row }) {
  const gates = part?.gates.length ? part.gates : [picked.dense ? "sum" : "sum"];
  const totals = sums.map((sum) => sum.terms.reduce((total, term) => total + Number(term.product), 0));
  const steps = equations({ picked, part, totals, at, previous, options, row });
  const numpy = h("button", { type: "button", class: "small", onclick: () => copy(program({ picked, part, sums, at, previous, options }), numpy) }, "Copy as NumPy");
  return [
    h("div", { class: "row between" }, h("h3", {}, `${picked.name}, ${picked.dense && !row ? "" : `timestep ${picked.timestep + 1}, `}unit ${picked.unit + 1}`), numpy),
    h("div", { class: "sums" }, sums.map((sum, i) => one(sum, gates[i], totals[i]))),
    h("div", { class: "equations", role: "list", "aria-label": "what is made of the sums" }, steps.map(equation)),
  ];
}

function one(sum, gate, total) {
  const terms = sum.terms.slice(0, MOST_TERMS), gated = sum.terms.some((term) => Number(term.gate) !== 1);
  return h("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": `terms of ${gate}` }, h("table", { class: "numbers" },
    h("caption", {}, gate),
    h("thead", {}, h("tr", {}, ["value", "", "weight", "", ...(gated ? ["reset"] : []), "product"].map((text) => (text ? h("th", { scope: "col" }, text) : h("td", {}))))),
    h("tbody", {}, terms.map((term) => h("tr", {},
      h("td", {}, show(Number(term.value))), h("td", { class: "name" }, term.source === "1" ? "bias" : term.source.replace("hidden_state", "h").replace("input", "x")),
      h("td", {}, show(Number(term.weight_value))), h("td", { class: "name", title: term.weight }, term.weight.slice(term.weight.lastIndexOf("/") + 1).replace("recurrent_kernel", "U").replace("kernel", "W").replace("bias", "b")),
      gated ? h("td", {}, Number(term.gate) === 1 ? "" : show(Number(term.gate))) : null, h("td", {}, show(Number(term.product))))),
    sum.terms.length > terms.length ? h("tr", {}, h("td", { colspan: gated ? 6 : 5 }, `and ${sum.terms.length - terms.length} more`)) : null),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row", colspan: gated ? 5 : 4 }, "sum"), h("td", {}, show(total, 6))),
      h("tr", {}, h("th", { scope: "row", colspan: gated ? 5 : 4 }, "served"), h("td", {}, show(Number(sum.total), 6), agrees(total, Number(sum.total)))))));
}

/** [what, how, computed here, served] for each step from the sums to the state. */
function equations({ picked, part, totals, at, previous, options, row }) {
  const f = options("activation") || "", g = options("recurrent_activation") || "";
  const apply = (name, total) => activated(name, [total], 0), call = (name, total) => `${name || "f"}(${show(total)})`;
  if (picked.dense) {
    const served = state.now.layers.find((layer) => layer.layer === picked.layer)?.tensors.output.values, wide = row.length;
    return [["output", call(f, totals[0]), f === "softmax" ? activated(f, row, picked.unit) : apply(f, totals[0]), served?.[picked.timestep * wide + picked.unit]]];
  }
  if (part.kind === "rnn") return [["h", call(f, totals[0]), apply(f, totals[0]), at("hidden_state")]];
  if (part.kind === "gru") {
    const [z, r, c] = [apply(g, totals[0]), apply(g, totals[1]), apply(f, totals[2])], h0 = previous("hidden_state");
    return [
      ["update z", call(g, totals[0]), z, at("update_gate")], ["reset r", call(g, totals[1]), r, at("reset_gate")],
      ["candidate c", call(f, totals[2]), c, at("candidate")],
      ["h", `z · h before + (1 − z) · c = ${show(z)} · ${show(h0)} + ${show(1 - z)} · ${show(c)}`, z * h0 + (1 - z) * c, at("hidden_state")],
    ];
  }
  const [i, forget, c, o] = [apply(g, totals[0]), apply(g, totals[1]), apply(f, totals[2]), apply(g, totals[3])], c0 = previous("cell_state");
  const cell = forget * c0 + i * c;
  return [
    ["input i", call(g, totals[0]), i, at("input_gate")], ["forget f", call(g, totals[1]), forget, at("forget_gate")],
    ["candidate g", call(f, totals[2]), c, at("candidate")], ["output o", call(g, totals[3]), o, at("output_gate")],
    ["cell c", `f · c before + i · g = ${show(forget)} · ${show(c0)} + ${show(i)} · ${show(c)}`, cell, at("cell_state")],
    ["h", `o · ${f || "f"}(c) = ${show(o)} · ${call(f, cell)}`, o * apply(f, cell), at("hidden_state")],
  ];
}

function equation([what, how, here, served]) {
  return h("div", { class: "equation", role: "listitem" }, h("b", {}, what), h("span", {}, ` = ${how}`),
    here === undefined ? null : h("span", {}, ` = ${show(here, 6)}`), h("span", { class: "served" }, ` served ${show(served, 6)}`), agrees(here, served));
}

/** A tick where two numbers agree to the rounding of single precision, else the difference. */
function agrees(here, served) {
  if (here === undefined || served === undefined) return h("span", { class: "hint" }, " not computed here");
  const apart = Math.abs(here - served), good = apart <= 4e-6 * Math.max(1, Math.abs(here));
  return h("span", { class: good ? "tick" : "cross", title: `here ${exact(here)}, served ${exact(served)}` },
    good ? " ✓" : " ✗", h("span", { class: good ? "offscreen" : "" }, good ? "agrees" : ` differs by ${show(apart)}${state.patches.length ? ": it was patched" : ""}`));
}
