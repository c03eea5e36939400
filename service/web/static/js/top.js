// The top of the page: which model and version, who asks, whether the server answers, and news.

import { h, by, put, say } from "./dom.js";
import { state, change, on, modelNow } from "./store.js";
import { count } from "./format.js";
import { choose } from "./choosing.js";

const PROOFS = { PROOF_KERAS: ["proof by Keras", "good"], PROOF_DERIVED: ["proof derived", "good"], PROOF_NONE: ["no proof", "warn"] };

export function top() {
  on("models model version info registry", selects);
  on("server away info models", badges);
  on("news models version", news);
  on("failure away info loading models server", faces);
  const head = document.querySelector("header");
  new ResizeObserver(() => document.documentElement.style.setProperty("--head", `${head.offsetHeight}px`)).observe(head);
  by("model").addEventListener("change", () => choose(by("model").value));
  by("version").addEventListener("change", () => choose(state.model, by("version").value, { keep: true }));
}

function options(select, values, value, text = (one) => one) {
  const key = JSON.stringify(values.map(text));
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    put(select, values.map((one) => h("option", { value: one }, text(one))));
  }
  select.value = value;
}

function selects() {
  for (const id of ["model", "version"]) by(id).closest("label").hidden = !state.models.length;
  options(by("model"), state.models.map((one) => one.name), state.model);
  const model = modelNow(), numbers = new Set([...(model?.versions ?? []).map((one) => one.version), ...state.registry.map((one) => one.version)]);
  if (state.version) numbers.add(state.version);
  options(by("version"), [...numbers].sort((a, b) => Number(b) - Number(a)), state.version, (one) => (one === model?.default_version ? `${one} (in service)` : one));
  document.title = state.model ? `${state.model} ${state.version} · Unroll` : "Unroll";
}

function badges() {
  const { info, server } = state, model = modelNow(), known = server?.server;
  const badge = (text, kind = "", title = "") => (text ? h("span", { class: `badge ${kind}`, title }, text) : null);
  const [proof, kind] = PROOFS[info?.proof] ?? ["", ""];
  put(by("badges"),
    badge(state.away ? "no connection" : server ? "connected" : "", state.away ? "warn" : "good", server?.address ?? ""),
    badge(proof, kind), badge(info?.engine ? `engine ${info.engine}` : ""), badge(info ? count(Number(info.parameter_count), "weight") : ""),
    badge(model?.stale_reason ? "may differ from the registry" : "", "warn", model?.stale_reason),
    badge(server?.read_only ? "read-only" : "", "warn", "This page was started with --read-only."),
    badge(known ? `${known.caller || "anonymous"}: ${known.roles?.join(", ") || "no roles"}` : "", "", known ? `The server knows this page by: ${known.known_by || "nothing"}` : ""));
}

function news() {
  const model = modelNow(), other = model && state.version && state.info && model.default_version !== state.version;
  by("news").hidden = !state.news && !other;
  say(by("news-text"), state.news || (other ? `Version ${model.default_version} is in service; this is version ${state.version}.` : ""));
  by("news-show").hidden = !other;
  if (other) {
    by("news-show").textContent = `Show version ${model.default_version}`;
    by("news-show").onclick = () => { change({ news: "" }); choose(state.model, model.default_version, { keep: true }); };
  }
}

/** Loading, empty, away, gone, refused, too large: what is shown in place of a version, or above it. */
function faces() {
  const { failure, away, info, loading, models, server } = state;
  const empty = server?.connected && !models.length && !loading, first = !info;
  by("face").hidden = !(failure || (away && first) || (loading && first) || empty);
  by("main").classList.toggle("covered", first || Boolean(failure && !info));
  by("away").hidden = !(away && !first);
  say(by("away-text"), away ? "The server does not answer; the numbers below are the last ones. Trying again…" : "");
  by("away").title = away;
  const tell = (kind, title, text, action) => {
    by("face").className = `card face ${kind}`;
    say(by("face-title"), title);
    say(by("face-text"), text);
    by("face-action").hidden = !action;
    if (action) [by("face-action").textContent, by("face-action").onclick] = action;
  };
  const model = modelNow(), back = model && [`Show version ${model.default_version}, which is in service`, () => choose(state.model, model.default_version)];
  if (failure) tell("bad", ...explain(failure), failure.status === 404 || failure.status === 412 || failure.status === 422 ? back : null);
  else if (away && first) tell("warn", "The server does not answer", `Trying again until it does. ${away}`);
  else if (empty) tell("", "Nothing is served yet", "The server runs, but serves no model to this page.");
  else if (loading && first) tell("loading", "Loading…", "Fetching the weights and an example.");
}

function explain(failure) {
  const titles = {
    KEY: "This address needs its key", NOT_FOUND: "This version or model is gone", LIMIT_EXCEEDED: "This is too large for the server",
    INVALID_ARGUMENT: "The server does not take this", PERMISSION_DENIED: "The server does not allow this", UNAUTHENTICATED: "The server does not know this page",
    NOT_READY: "This version is refused", CORRUPT_MODEL: "This version is refused", PROOF: "This version is refused", UNSUPPORTED_MODEL: "This version is refused", MODEL: "This version is refused",
    NOT_SUPPORTED: "This version does not show its inside", INTERNAL: "The server has failed",
  };
  return [titles[failure.reason] ?? "That did not work", failure.message];
}
