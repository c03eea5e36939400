// The section "Why and how far back": what the prediction comes from, and what each layer still remembers.

import { h, by, put, say } from "./dom.js";
import { post, array, arraysOfOne, ofOne, Failure } from "./api.js";
import { state, on } from "./store.js";
import { subject } from "./live.js";
import { count, show, reachOf, onTheme } from "./format.js";
import { Heatmap } from "./heatmap.js";
import { lines, numbers, plane } from "./charts.js";
import { grid, factsOf } from "./input.js";
import { parts } from "./network.js";
import { namesOf } from "./prediction.js";

const REST = 350; // milliseconds without a change after which these are asked for: they cost more than a prediction

const METHODS = {
  integrated_gradients: ["Integrated gradients", "What each number adds to the prediction on the way from the baseline; together they make up the whole change."],
  gradient_input: ["Gradient × input", "What each number would add if the network were linear around this input."],
  occlude_timesteps: ["Leave out timesteps", "How far the prediction falls when one timestep is replaced by the baseline."],
  occlude_features: ["Leave out features", "How far the prediction falls when one feature is replaced by the baseline at every timestep."],
  ablate_units: ["Silence units", "How far the prediction falls when the hidden state of one unit is held at zero."],
};

/** How wide a chart may be without its text getting small. */
const room = () => Math.max(280, Math.min(640, document.documentElement.clientWidth - 60));

let timer = 0, round = 0, open = false;
let maps = [];

export function why() {
  const card = by("why-details");
  card.addEventListener("toggle", () => { open = card.open; soon(0); });
  on("now", () => soon(REST));
  for (const id of ["why-method", "why-baseline", "why-element", "why-timestep"]) by(id).addEventListener("change", () => soon(0));
  put(by("why-method"), Object.entries(METHODS).map(([value, [name]]) => h("option", { value }, name)));
  onTheme(() => { for (const map of maps) map.repaint(); });
}

function soon(delay) {
  clearTimeout(timer);
  if (open && state.now) timer = setTimeout(ask, delay);
}

async function ask() {
  const mine = ++round, [name, output] = Object.entries(state.now.outputs)[0];
  const [element, timestep] = targetOf(output), target = { output: name, element, ...(timestep === null ? {} : { timestep }) };
  const method = by("why-method").value, baseline = by("why-baseline").value;
  const layers = parts(state.now), about = subject(), { patches: _, ...unpatched } = about;
  say(by("why-note"), "");
  const run = async (place, question) => {
    try {
      const made = await question();
      if (mine === round) put(by(place), made);
    } catch (error) {
      if (mine !== round || !(error instanceof Failure)) { if (!(error instanceof Failure)) throw error; return; }
      put(by(place), h("p", { class: "hint bad" }, error.message));
    }
  };
  maps = [];
  await Promise.all([
    run("why-attribution", async () => attribution(await post("attribute", { ...about, ...target, method, baseline }), method)),
    run("why-gradients", async () => gradients(await post("gradients", { ...about, ...target, by: ["inputs", "states"] }))),
    layers.length ? run("why-memory", async () => memory(await post("memory", unpatched))) : put(by("why-memory")),
    layers.length ? run("why-modes", async () => modes(layers, unpatched)) : put(by("why-modes")),
  ]);
}

/** Which number of the output is asked about; offers the choice where there are several. */
function targetOf({ shape, values }) {
  const elements = shape.length ? shape.at(-1) : 1, timesteps = shape.length > 1 ? values.length / elements : 1;
  const choice = (id, n) => {
    const select = by(id);
    select.closest("label").hidden = n < 2;
    const names = (id === "why-element" ? namesOf(n) : Array(n).fill("")).slice(0, 500).map((known, i) => known || String(i + 1));
    if (names.join("\n") !== Array.from(select.options, (option) => option.textContent).join("\n")) {
      put(select, names.map((name, i) => h("option", { value: i }, name)));
      select.value = id === "why-element" ? 0 : n - 1;
    }
    return Number(select.value || 0);
  };
  const element = choice("why-element", elements), timestep = choice("why-timestep", timesteps);
  return [element, timesteps > 1 ? timestep : null];
}

function attribution(found, method) {
  const value = array(found.value).values[0], from = array(found.baseline_value).values[0], residual = array(found.residual).values[0];
  const sum = Object.values(found.scores).reduce((total, one) => total + array(one).values.reduce((a, b) => a + b, 0), 0);
  return [
    h("p", {}, METHODS[method][1]),
    from === undefined || !Object.keys(found.scores).length ? null : h("p", { class: "hint" }, `${show(from)} at the baseline, ${show(value)} here; the scores add up to ${show(sum)}${residual > 0.01 ? ` and miss ${show(residual * 100, 3)} % of the change` : ""}.`),
    Object.keys(found.scores).length ? null : h("p", { class: "hint" }, "A text is no number that this could be said of; silencing units can."),
    Object.entries(found.scores).map(([name, one]) => pictured(name, ofOne(array(one)), method)),
  ];
}

/** Scores as a picture: features × time for an input, one row for occlusion and ablation. */
function pictured(name, { shape, values }, method) {
  const single = shape.length < 2, [rows, columns] = single ? [1, values.length] : [grid(shape)[1], shape[0]];
  const turned = single ? values : Float64Array.from({ length: values.length }, (_, k) => values[(k % columns) * rows + Math.floor(k / columns)]);
  const facts = factsOf(name, single && method !== "occlude_features" ? 1 : single ? columns : rows);
  const map = new Heatmap({
    label: `${METHODS[method]?.[0] ?? method}, ${name}`,
    row: (i) => (single ? name : facts[i].name),
    column: (j) => (method === "occlude_features" ? facts[j].name : method === "ablate_units" ? `unit ${j + 1}` : String(j + 1)),
  });
  maps.push(map);
  map.show({ rows, columns, values: turned, reach: reachOf(turned) });
  return h("figure", { class: "map" }, h("figcaption", {}, h("b", {}, name)), map.element);
}

function gradients(found) {
  return [
    h("p", {}, "How fast the prediction changes with each number of the input: an input whose gradient is near zero no longer matters."),
    Object.entries(arraysOfOne(found.inputs)).map(([name, one]) => pictured(name, one, "gradient")),
    found.layers.map((layer) => Object.entries(arraysOfOne(layer.tensors)).filter(([, one]) => one.shape.length === 2).map(([name, one]) => {
      const steps = Float64Array.from({ length: one.shape[0] }, (_, t) => Math.hypot(...one.values.slice(t * one.shape[1], (t + 1) * one.shape[1])));
      const title = `${layer.layer}, ${name.replaceAll("_", " ")}`;
      return h("figure", { class: "map wide" }, h("figcaption", {}, h("b", {}, "Size of the gradient by the state after each timestep"), ` ${title}`),
        lines({ label: `Size of the gradient by ${title}`, series: [{ name: title, values: steps, style: "plain" }], height: 150, low: 0, width: room() }),
        numbers(`Gradient by ${title}`, "timestep", [{ name: "size", values: steps }]));
    })),
  ];
}

function memory(found) {
  const back = ([half, tenth, hundredth]) => [["a half", half], ["a tenth", tenth], ["a hundredth", hundredth]]
    .filter(([, steps]) => steps >= 0).map(([share, steps]) => `below ${share} after ${count(steps, "timestep")}`).join(", ");
  return [
    h("p", {}, "How much of a small change of the state or the input at each timestep is still in the last state."),
    found.layers.map((layer) => {
      const states = array(layer.by_states).values, inputs = array(layer.by_inputs).values;
      return h("figure", { class: "map wide" }, h("figcaption", {}, h("b", {}, layer.layer), ` ${back(layer.horizons) || "does not fall below a half"}`),
        lines({
          label: `memory of ${layer.layer}`, log: true, height: 170, width: room(),
          series: [{ name: "of the state", values: states, style: "plain" }, { name: "of the input", values: inputs, style: "other" }],
        }),
        h("p", { class: "legend" }, h("span", { class: "key plain" }), "of the state ", h("span", { class: "key other" }), "of the input"),
        numbers(`Memory of ${layer.layer}`, "timestep", [{ name: "of the state", values: states }, { name: "of the input", values: inputs }]));
    }),
  ];
}

async function modes(layers, about) {
  const [part] = layers, step = state.step ?? part.timesteps - 1;
  const backwards = part.prefix.startsWith("backward/");
  const found = await post("dynamics", { ...about, layer: part.name, timesteps: [backwards ? part.timesteps - 1 - step : step] });
  const along = (found.along[0]?.modes ?? []).map(plain), points = found.points ?? [];
  return [
    h("p", {}, `Eigenvalues of timestep ${step + 1} of ${part.name}: a mode inside the circle decays, one on it is remembered, one outside of it grows.`),
    h("div", { class: "row top" }, plane(`eigenvalues of ${part.name} at timestep ${step + 1}`, along),
      h("div", {}, numbers("Eigenvalues, slowest first", "mode", ["real", "imaginary", "modulus", "period"].map((name) => ({ name, values: along.map((mode) => mode[name]) }))),
        h("p", {}, points.length ? `With its input held, the layer has ${points.length === 1 ? "one fixed point" : `${points.length} fixed points`}: ${points.map((point) => `${point.stable ? "stable" : "not stable"}, slowest mode ${show(Number(point.modes[0]?.modulus), 3)}`).slice(0, 4).join("; ")}.` : "With its input held, no fixed point was found."))),
  ];
}

const plain = (mode) => Object.fromEntries(Object.entries(mode).map(([name, value]) => [name, Number(value)]));
