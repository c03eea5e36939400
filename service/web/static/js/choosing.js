// Choosing a model and a version: what has to be fetched, and what of the look can stay.

import { get, array, packed, Failure } from "./api.js";
import { state, change, modelNow } from "./store.js";
import { ask, renew } from "./live.js";
import { exampleInputs } from "./examples.js";
import { fits } from "./input.js";
import { forget } from "./changes.js";

let round = 0;

export async function refreshModels() {
  change({ models: await get("models") });
}

/**
 * Shows a version of a model; without a number the one in service. keep: nudges and patches stay, as far as they fit.
 * look: input, nudges and patches out of an address.
 */
export async function choose(name, number = "", { keep = false, look = {} } = {}) {
  const mine = ++round, model = state.models.find((one) => one.name === name), same = name === state.model;
  if (!model) return change({ model: name, info: null, failure: new Failure(404, { error: "NOT_FOUND", message: `The server serves no model ${JSON.stringify(name)}.` }) });
  const version = number || model.default_version;
  renew();
  change({ model: name, version, base: null, now: null, failure: null, picked: keep ? state.picked : null, step: null, loading: true, news: keep ? state.news : "" });
  try {
    const [sent, examples] = await Promise.all([get("weights", { model: name, version }), exampleOf(name, version)]);
    if (mine !== round) return;
    let info = infoOf(sent.version);
    if (!info) { // it was loaded because it was asked for
      await refreshModels();
      info = infoOf(sent.version) ?? infoOf(modelNow()?.default_version);
    }
    const weights = sent.weights.map((one) => ({ ...one, value: array(one.value) }));
    const known = (one) => !one.weight || weights.some((weight) => weight.name === one.weight && (!one.ranges || one.ranges.length === 0 || one.ranges.length === weight.value.shape.length));
    const typed = look.input && Object.fromEntries(Object.entries(look.input).map(([key, [shape, values]]) => [key, { shape, values: packed(values) }]));
    const input = [typed, same ? state.input : null].find((one) => one && fits(one, info)) ?? exampleInputs(info, examples);
    forget();
    change({
      version: sent.version, digest: sent.digest, weights, info, examples, input, loading: false,
      nudges: (look.nudges ?? (keep ? state.nudges : [])).filter(known), patches: look.patches ?? (keep ? state.patches : []),
    });
    ask({ base: true });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (mine !== round) return;
    if (error.passing) {
      change({ away: error.message, loading: false });
      setTimeout(() => { if (mine === round) choose(name, number, { keep, look }); }, 1000);
    } else change({ failure: error, loading: false, info: null, weights: [] });
  }
}

const infoOf = (version) => modelNow()?.versions.find((one) => one.version === version);

async function exampleOf(model, version) {
  try {
    return await get("examples", { model, version });
  } catch (error) {
    if (error.passing) throw error;
    return null; // without the role, or without a proof, the input begins with zeros
  }
}
