// Example inputs of a version, and what is known of the columns of its inputs.

import { array, ofOne, packed, shortest } from "./api.js";

/** Whether an input takes texts. */
export const takesText = (spec) => /STRING/.test(spec.data_type);

/**
 * For each feature of an input: {name, unit, range}; the range is [low, high], or null where it is not known.
 * input: the name of the input, where there are several.
 */
export function columnFacts(examples, features, input = "") {
  const known = input ? [] : examples?.columns ?? []; // versions that were trained on a table have one input
  return Array.from({ length: features }, (_, f) => {
    const column = known.length === features ? known[f] : null;
    const low = Number(column?.min ?? NaN), high = Number(column?.max ?? NaN);
    return {
      name: column?.name || (features === 1 ? input || "x" : `${input || "x"}${/\d$/.test(input) ? " " : ""}${f + 1}`),
      unit: column?.unit || "",
      range: Number.isFinite(low) && Number.isFinite(high) && low < high ? [low, high] : null,
    };
  });
}

/** The version's own example, or zeros of a fitting shape where it has none. */
export function exampleInputs(info, examples) {
  const sent = examples?.inputs ?? {};
  return Object.fromEntries(info.inputs.map((spec) => {
    const one = sent[spec.name] ?? (info.inputs.length === 1 ? Object.values(sent)[0] : null);
    if (one) {
      const { shape, values } = ofOne(array(one)), size = shape.reduce((a, b) => a * b, 1);
      return [spec.name, { shape, values: packed(values instanceof Float32Array ? Array.from(values.slice(0, size), shortest) : values.slice(0, size)) }];
    }
    const shape = spec.shape.slice(1).map(Number).map((extent, axis) => (extent === -1 ? (axis ? 1 : 5) : extent));
    return [spec.name, { shape, values: packed(Array(shape.reduce((a, b) => a * b, 1)).fill(takesText(spec) ? "" : 0)) }];
  }));
}
