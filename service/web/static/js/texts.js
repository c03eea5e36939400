// Inputs that are texts: fields to type them in, and texts out of files and clipboards.

import { h } from "./dom.js";
import { count } from "./format.js";

const SHOWN = 64; // texts of one input that are shown

/** Fields for the texts of an input. ontext(place, text): somebody has typed; each(place, field) hears of every field. */
export function fields({ name }, values, ontext, each) {
  const single = values.length === 1;
  return [
    Array.from(values.slice(0, SHOWN), (_, k) => {
      const field = h("textarea", {
        class: "text", rows: single ? 3 : 1, autocomplete: "off", "aria-label": single ? `${name}, text` : `${name}, text ${k + 1}`,
        oninput: () => ontext(k, field.value),
      });
      each(k, field);
      return single ? field : h("label", { class: "numbered" }, h("span", { class: "hint", "aria-hidden": "true" }, String(k + 1)), field);
    }),
    values.length > SHOWN ? h("p", { class: "hint" }, `${SHOWN} of ${values.length} texts are shown; paste JSON to change the others.`) : null,
  ];
}

/** Whether a text is JSON that names inputs, rather than itself one. */
export function namesInputs(text, inputs) {
  try {
    const value = JSON.parse(text), given = value.inputs ?? value;
    return !Array.isArray(given) && inputs.some((spec) => spec.name in given);
  } catch {
    return false;
  }
}

/** What somebody gave as texts: a JSON list, for several texts else a line for each, or one text as it is. */
export function read(text, several) {
  const trimmed = text.replace(/^\uFEFF/, "").trim();
  if (/^\[/.test(trimmed)) {
    try {
      const list = JSON.parse(trimmed).flat(Infinity);
      if (list.every((one) => typeof one === "string")) return list;
    } catch { /* a text that begins with a bracket */ }
  }
  return several ? trimmed.split(/\r\n|\r|\n/) : [trimmed];
}

/** Texts, in nested lists or not, as an input takes them. Throws an Error in one sentence where it takes others. */
export function shaped(value, { name, shape }) {
  const values = [value].flat(Infinity), extents = shape.slice(1).map(Number), open = extents.indexOf(-1);
  const wrong = values.find((one) => typeof one !== "string");
  if (wrong !== undefined) throw new Error(`${name} takes texts, this has ${JSON.stringify(wrong)}.`);
  const size = extents.reduce((a, b) => a * (b === -1 ? 1 : b), 1);
  if (open < 0 ? values.length !== size : values.length % size) throw new Error(`${name} takes ${count(size, "text")}, this has ${values.length}.`);
  return { shape: extents.map((extent, axis) => (extent !== -1 ? extent : axis === open ? values.length / size : 1)), values };
}
