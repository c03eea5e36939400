// The questions that keep the page current: one in flight, and the last wish wins.

import { post, array, arraysOfOne, nested, ofOne, Failure } from "./api.js";
import { state, change, changed, toAddress } from "./store.js";

const HEAVY = 150_000; // numbers of a trace from which on a slider moves without one
const AGAIN = 1000, SETTLED = 200; // milliseconds

export const timing = []; // of questions: milliseconds from the wish until it was drawn, for whoever measures

let busy = false, wish = null, retry = 0, later = 0, round = 0, heavy = false;

/** What every question says of its subject. */
export function subject(withChanges = true) {
  const inputs = Object.fromEntries(Object.entries(state.input).map(([name, { shape, values }]) => [name, nested(shape, values)]));
  const asked = { model: state.model, version: state.version, inputs };
  if (withChanges) Object.assign(asked, { what_if: state.nudges.map(forServer), patches: state.patches });
  return asked;
}

/** Lets answers to questions about another version or model be dropped. */
export function renew() {
  round += 1;
  heavy = false;
}

/** Asks anew: with `base` also what holds without changes. */
export function ask({ base = false, since = performance.now() } = {}) {
  toAddress();
  if (busy) {
    wish = { base: base || wish?.base || false, since: wish?.since ?? since };
    return;
  }
  run(base, since);
}

async function run(base, since) {
  busy = true;
  const asked = round;
  try {
    const light = heavy && !base && changed();
    const [first, second] = await Promise.all([
      base || !state.base ? whole() : state.base,
      changed() ? (light ? predicted() : traced(true)) : null,
    ]);
    if (asked === round) {
      heavy = size(first) > HEAVY;
      change({ base: first, now: second ?? first, failure: null, away: "" });
      timing.push(performance.now() - since);
      if (timing.length > 1000) timing.shift();
      if (light) {
        clearTimeout(later);
        later = setTimeout(() => settle(asked), SETTLED);
      }
    }
  } catch (error) {
    if (asked === round) fail(error, base);
  }
  busy = false;
  if (wish) {
    const next = wish;
    wish = null;
    run(next.base, next.since);
  }
}

/** After a slider came to rest: the whole trace of a large network. */
async function settle(asked) {
  try {
    const now = await traced(true);
    if (asked === round && !busy) change({ now });
  } catch { /* the next question will say so */ }
}

function fail(error, base) {
  if (!(error instanceof Failure)) throw error;
  if (error.passing) {
    change({ away: error.message });
    clearTimeout(retry);
    retry = setTimeout(() => ask({ base: base || !state.base }), AGAIN);
  } else {
    change({ failure: error, away: "" });
  }
}

/** What holds without changes: a trace, and intervals where the version has them. */
async function whole() {
  const levels = (state.info?.interval_levels ?? []).map(Number);
  const [trace, sent] = await Promise.all([traced(false), levels.length ? post("predict", { ...subject(false), levels }) : null]);
  const intervals = (sent?.intervals ?? []).map(({ level, lower, upper }) => ({ level, lower: ofOne(array(lower)).values, upper: ofOne(array(upper)).values }));
  return { ...trace, intervals: intervals.sort((a, b) => a.level - b.level) };
}

async function traced(withChanges) {
  const asked = subject(withChanges);
  try {
    return read(await post("trace", asked));
  } catch (error) {
    if (!(error instanceof Failure) || (error.status !== 413 && error.status !== 501)) throw error;
    return { ...read(await post("predict", asked)), without: error.message }; // too large, or nothing shows its inside
  }
}

async function predicted() {
  const answer = read(await post("predict", subject()));
  return { ...answer, layers: (state.now ?? state.base)?.layers ?? [], behind: true };
}

function read(answer) {
  return {
    version: answer.version,
    outputs: arraysOfOne(answer.outputs),
    layers: (answer.layers ?? []).map((layer) => ({ ...layer, tensors: arraysOfOne(layer.tensors) })),
  };
}

const size = (trace) => trace.layers.reduce((sum, layer) => sum + Object.values(layer.tensors).reduce((n, one) => n + one.values.length, 0), 0);

function forServer({ weight, operation, ranges, value }) {
  return { weight, operation, ranges, value };
}
