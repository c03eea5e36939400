// Requests to the page's own server, and arrays as they travel.

/** What a request came back with instead of an answer. `status` is 0 where nothing answered at all. */
export class Failure extends Error {
  constructor(status, body) {
    super(body.message || "the page's server does not answer");
    this.status = status;
    this.reason = body.error || "AWAY";
    this.field = body.field || "";
    this.details = body.details || {};
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 503 || this.status === 504 || this.status === 502;
  }
}

export async function get(path, query = {}) {
  const text = new URLSearchParams(query).toString();
  return answer(`api/${path}${text ? `?${text}` : ""}`, {});
}

export async function post(path, body, signal) {
  return answer(`api/${path}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal,
  });
}

async function answer(path, options) {
  let response, body;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
    body = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(response && !response.ok ? response.status : 0, {});
  }
  if (!response.ok) throw new Failure(response.status, body);
  return body;
}

/** An array as it travels: {shape, values}, the values as a typed array, or as a list of texts, in row-major order. */
export function array(sent) {
  if (sent.type === "text") return { shape: sent.shape, values: sent.data };
  const bytes = Uint8Array.from(atob(sent.data), (c) => c.charCodeAt(0));
  const values = sent.type === "f4" ? new Float32Array(bytes.buffer) : new Float64Array(bytes.buffer);
  return { shape: sent.shape, values };
}

/** Arrays by name, each of one sequence: the axis of the batch is dropped. */
export function arraysOfOne(sent) {
  return Object.fromEntries(Object.entries(sent).map(([name, one]) => [name, ofOne(array(one))]));
}

/** Values as the page keeps them: numbers in double precision, texts in a list. */
export const packed = (values) => (isText(values) ? Array.from(values) : Float64Array.from(values));

/** A number in single precision in the fewest digits that mean it: 41.8 rather than 41.79999923706055. */
export function shortest(value) {
  for (let digits = 6; digits < 9; digits++) {
    const text = Number(value.toPrecision(digits));
    if (Math.fround(text) === value) return text;
  }
  return value;
}

/** Whether values are texts. */
export const isText = (values) => typeof values[0] === "string";

export function ofOne({ shape, values }) {
  return { shape: shape.slice(1), values };
}

/** An array of one sequence as nested lists with the axis of the batch, for a request. */
export function nested(shape, values) {
  const build = (axis, start, size) => {
    if (axis === shape.length) return values[start];
    const step = size / shape[axis];
    return Array.from({ length: shape[axis] }, (_, i) => build(axis + 1, start + i * step, step));
  };
  return [build(0, 0, values.length)];
}
