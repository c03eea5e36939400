// The section "States and gates": every state and gate as unit × time, each scale of its own kind.

import { h, by, put } from "./dom.js";
import { state, change, on } from "./store.js";
import { parts, transposed, GATE_TENSORS } from "./network.js";
import { onTheme, reachOf } from "./format.js";
import { Heatmap } from "./heatmap.js";
import { editPatch } from "./patching.js";

let maps = new Map(); // by part and tensor
let built = "";

export function states() {
  on("now away failure patches", draw);
  onTheme(() => { for (const map of maps.values()) map.repaint(); });
}

function draw() {
  by("states").classList.toggle("stale", Boolean(state.away || state.failure));
  const found = parts(state.now).flatMap((part) => {
    const direction = part.prefix.startsWith("forward/") ? ", forward" : part.prefix.startsWith("backward/") ? ", backward" : "";
    return ["hidden_state", "cell_state", ...GATE_TENSORS].filter((name) => part.tensor(name)).map((name) => ({ part, name, direction }));
  });
  by("states").hidden = !found.length;
  const shape = found.map(({ part, name }) => `${part.name} ${name} ${part.units}×${part.timesteps}`).join("\n");
  if (shape !== built) {
    built = shape;
    maps = new Map();
    put(by("states-body"), found.map(({ part, name, direction }) => {
      const label = `${part.layer}${direction}${cell(part)}: ${name.replaceAll("_", " ")}`;
      const map = new Heatmap({
        label: `${label}, unit by timestep`, tone: isGate(name) ? "gate" : undefined, row: (u) => `unit ${u + 1}`, column: (t) => String(t + 1),
        onpick: (u, t) => { change({ picked: { layer: part.layer, name: part.name, timestep: t, unit: u } }); editPatch(part, name, t, u); },
      });
      maps.set(`${part.name} ${name}`, map);
      return h("figure", { class: "map" }, h("figcaption", {}, h("b", {}, name.replaceAll("_", " ")), ` ${part.name}`), map.element);
    }));
  }
  for (const { part, name } of found) {
    const turned = transposed(part.tensor(name));
    // Gates lie between 0 and 1, so that they share one scale; each kind of state has its own.
    const reach = isGate(name) ? 1 : Math.max(name === "cell_state" ? 0 : 1e-3, reachOf(turned.values));
    maps.get(`${part.name} ${name}`).show({ rows: turned.shape[0], columns: turned.shape[1], values: turned.values, reach, marked: patched(part, name) });
  }
}

const isGate = (name) => name.endsWith("_gate");
const cell = (part) => { const found = /cell_(\d+)/.exec(part.prefix); return found ? `, cell ${Number(found[1]) + 1}` : ""; };

/** Whether an element of a drawn state or gate is under a patch. */
function patched(part, name) {
  const own = state.patches.filter((patch) => patch.layer === part.layer && patch.tensor === `${part.prefix}${name}`);
  const within = (range, k) => !range || (range[0] === 0 && range[1] === 0) || (k >= range[0] && k < range[1]);
  return (k) => own.some((patch) => within(patch.units, Math.floor(k / part.timesteps)) && within(patch.timesteps, k % part.timesteps));
}
