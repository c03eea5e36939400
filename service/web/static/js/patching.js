// A small form that changes a state or gate while the network computes: one unit at one timestep, or all of either.

import { h, by, put } from "./dom.js";
import { forbidden } from "./store.js";
import { exact } from "./format.js";
import { addPatch } from "./changes.js";

/** Offers to patch a unit of a state or gate. */
export function editPatch(part, name, timestep, unit) {
  const value = part.tensor(name).values[timestep * part.units + unit], denied = forbidden("inspect");
  const operation = h("select", {}, ["set", "add", "scale", ...(name.endsWith("state") ? ["keep"] : [])].map((one) => h("option", { value: one }, one)));
  const number = h("input", { type: "number", step: "any", value: exact(Number(value.toPrecision(6))), class: "number" });
  const steps = h("select", {}, h("option", { value: "one" }, `timestep ${timestep + 1}`), h("option", { value: "from" }, `from timestep ${timestep + 1} on`), h("option", { value: "all" }, "all timesteps"));
  const units = h("select", {}, h("option", { value: "one" }, `unit ${unit + 1}`), h("option", { value: "all" }, "all units"));
  operation.addEventListener("change", () => {
    number.disabled = operation.value === "keep";
    number.value = operation.value === "set" ? exact(Number(value.toPrecision(6))) : operation.value === "scale" ? 1 : 0;
  });
  const form = h("form", {
    class: "row tools", "aria-label": "change this while the network computes",
    onsubmit: (event) => {
      event.preventDefault();
      if (operation.value !== "keep" && !Number.isFinite(number.valueAsNumber)) return number.focus();
      addPatch({
        layer: part.layer, tensor: `${part.prefix}${name}`, operation: operation.value, value: operation.value === "keep" ? 0 : number.valueAsNumber,
        ...(steps.value === "all" ? {} : { timesteps: steps.value === "one" ? [timestep, timestep + 1] : [timestep, part.timesteps] }),
        ...(units.value === "all" ? {} : { units: [unit, unit + 1] }),
      });
    },
  },
  h("b", {}, `${part.name} ${name.replaceAll("_", " ")}`), h("label", {}, "Change ", operation), h("label", {}, "to ", number), h("label", {}, "at ", steps), h("label", {}, "of ", units),
  h("button", { disabled: Boolean(denied), title: denied }, "Patch for this page"));
  put(by("patch-form"), form);
}

export const describePatch = ({ layer, tensor, operation, value, timesteps, units }) => {
  const range = (name, pair) => (pair ? (pair[1] === pair[0] + 1 ? `, ${name} ${pair[0] + 1}` : `, ${name}s ${pair[0] + 1}–${pair[1]}`) : `, all ${name}s`);
  return `${layer} ${tensor.replaceAll("_", " ")}${range("timestep", timesteps)}${range("unit", units)}: ${operation === "keep" ? "keep the value from before" : `${operation} ${exact(value)}`}`;
};
