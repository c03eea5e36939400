// Starts the page: what the address asks for, the sections, and one stream of news for the model that is shown.

import { by } from "./dom.js";
import { get, Failure } from "./api.js";
import { state, change, on, fromAddress } from "./store.js";
import { timing } from "./live.js";
import { top } from "./top.js";
import { input } from "./input.js";
import { prediction } from "./prediction.js";
import { unrolled } from "./unrolled.js";
import { sums } from "./sums.js";
import { playing } from "./playing.js";
import { states } from "./states.js";
import { why } from "./why.js";
import { weights } from "./weights.js";
import { changes } from "./changes.js";
import { commit } from "./commit.js";
import { versions } from "./versions.js";
import { choose } from "./choosing.js";
import { count } from "./format.js";

const CHANGES = { MODEL_CHANGE_TRAINED: "is in service now", MODEL_CHANGE_OVERRIDDEN: "is in service now", MODEL_CHANGE_MOVED_BACK: "is in service again" };

let source = null, watched = "";

async function start() {
  change({ loading: true });
  try {
    const server = await get("state");
    change({ server, away: server.connected ? "" : server.error });
    if (!server.connected) return void setTimeout(start, 1000);
    const models = await get("models"), look = fromAddress();
    change({ models, away: "", loading: false });
    if (models.length) await choose(look.model || models[0].name, look.version, { look });
    else setTimeout(start, 2000);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    change(error.passing ? { away: error.message, loading: false } : { failure: error, loading: false });
    if (error.passing) setTimeout(start, 1000);
  }
}

/** Listens to what happens to the shown model. */
function watch() {
  if (!state.models.some((one) => one.name === state.model) || watched === state.model) return;
  watched = state.model;
  source?.close();
  source = new EventSource(`api/watch?${new URLSearchParams({ model: state.model })}`);
  source.onmessage = ({ data }) => heard(JSON.parse(data));
  source.onerror = () => change({ away: "the page's server does not answer" });
}

async function heard(event) {
  if (event.gone) return change({ news: event.gone });
  if (!event.connected) return change({ away: event.error });
  const models = state.models.map((one) => (one.name === event.model.name ? event.model : one)), kind = CHANGES[event.change];
  const text = kind ? `Version ${event.model.default_version} ${kind}${event.actor ? `, by ${event.actor}` : ""}${event.reason ? `; reason: ${event.reason}` : ""}` : "";
  change({ models, away: "", ...(text ? { news: text } : {}) });
  if (state.server && !state.server.connected) change({ server: await get("state") });
}

// The key has become a cookie: an address that is passed on must not hold it.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);

addEventListener("hashchange", () => {
  const look = fromAddress();
  if (look.model && (look.model !== state.model || look.version !== state.version || look.input || look.nudges)) choose(look.model, look.version, { look });
});

for (const section of [top, input, prediction, unrolled, sums, playing, states, why, weights, changes, commit, versions]) section();
on("model models", watch);
on("nudges patches", () => {
  const n = state.nudges.length + state.patches.length;
  by("strip-changes").textContent = n ? count(n, "change") : "";
});
window.unroll = { state, timing }; // for a look from the console, and for measurements
start();
