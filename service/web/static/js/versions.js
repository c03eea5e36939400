// The section "Versions": all that the registry has, two of them compared, and one put into service.

import { h, by, put, say } from "./dom.js";
import { get, post, array, arraysOfOne, Failure } from "./api.js";
import { state, change, on, modelNow, forbidden } from "./store.js";
import { subject } from "./live.js";
import { asMatrix, gatesOf } from "./network.js";
import { count, reachOf, show, signed, when } from "./format.js";
import { Heatmap } from "./heatmap.js";
import { choose, refreshModels } from "./choosing.js";
import { requestId } from "./commit.js";

const ORIGINS = { TRAINED: "trained", OVERRIDE: "override", REGISTERED: "registered", OTHER: "other", UNSPECIFIED: "" };
const PROOFS = { KERAS: "by Keras", DERIVED: "derived", NONE: "none", UNSPECIFIED: "" };

let marked = []; // two versions that are compared
let wanted = ""; // the version that is to be served
let limit = 20; // of versions that are listed
let more = false; // whether the registry has others
let asked = "";

export function versions() {
  on("registry models version server away", draw);
  on("model models", () => fetchFirst());
  by("versions-more").addEventListener("click", () => { limit += 50; fetchAll(); });
  by("serve-form").addEventListener("submit", (event) => { event.preventDefault(); serve(); });
  by("serve-cancel").addEventListener("click", () => by("serve-dialog").close());
}

function fetchFirst() {
  const model = modelNow(), key = model ? JSON.stringify([model.name, model.aliases, model.versions.map((one) => one.version)]) : "";
  if (!model || key === asked) return;
  asked = key;
  fetchAll();
}

async function fetchAll() {
  const model = state.model;
  try {
    const page = await get("versions", { model, limit });
    if (model !== state.model) return;
    more = page.more;
    say(by("versions-note"), "");
    change({ registry: page.versions });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say(by("versions-note"), `The registry's list cannot be had: ${error.message} Versions in memory are shown.`);
    change({ registry: (modelNow()?.versions ?? []).map((one) => ({ ...one, loaded: true, aliases: [] })) });
  }
}

function draw() {
  const model = modelNow(), denied = forbidden("promote");
  by("versions-more").hidden = !more;
  const focus = document.activeElement?.closest?.("#versions-body")?.contains(document.activeElement) ? document.activeElement.dataset.key : "";
  put(by("versions-body"), state.registry.map((one) => row(one, model, denied)));
  if (focus) by("versions-body").querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus();
}

function row(one, model, denied) {
  const served = one.version === model?.default_version, shown = one.version === state.version, gate = one.gate;
  const aliases = Object.entries(model?.aliases ?? {}).filter(([, version]) => version === one.version).map(([alias]) => alias);
  const origin = ORIGINS[String(one.origin).replace("VERSION_ORIGIN_", "")] ?? "";
  return h("tr", { class: served ? "served" : null },
    h("th", { scope: "row" }, one.version, served ? h("span", { class: "badge good" }, "in service") : null, shown ? h("span", { class: "badge" }, "shown") : null),
    h("td", {}, aliases.map((alias) => h("span", { class: "badge" }, `@${alias}`))),
    h("td", {}, `${origin}${one.base_version ? ` of ${one.base_version}` : ""}`, one.changed_weights?.length ? h("div", { class: "hint" }, one.changed_weights.join(", ")) : null),
    h("td", {}, one.actor, h("div", { class: "hint" }, when(one.created_time))),
    h("td", { class: "reason" }, one.refusal ? h("span", { class: "bad" }, `Refused: ${one.refusal}`) : one.reason || gate?.decision_reason || ""),
    h("td", {}, gate?.error !== undefined && gate?.error !== null ? `${gate.metric} ${show(Number(gate.error))}` : "",
      gate?.baseline_error !== undefined && gate?.baseline_error !== null ? h("div", { class: "hint" }, `${gate.baseline} ${show(Number(gate.baseline_error))}`) : null),
    h("td", {}, PROOFS[String(one.proof).replace("PROOF_", "")] ?? ""),
    h("td", { class: "actions" },
      button(`show ${one.version}`, "Show", shown, "", () => choose(state.model, one.version)),
      button(`compare ${one.version}`, marked.includes(one.version) ? "Chosen" : "Compare", false, "", () => mark(one.version)),
      served ? null : button(`serve ${one.version}`, "Serve this", Boolean(denied), denied, () => ask(one.version))));
}

function button(key, text, disabled, title, onclick) {
  return h("button", { type: "button", class: "small", disabled, title, "aria-label": `${text} version ${key.split(" ")[1]}`, "data-key": key, onclick }, text);
}

function mark(version) {
  marked = marked.includes(version) ? marked.filter((one) => one !== version) : [...marked.slice(-1), version];
  draw();
  if (marked.length === 2) compare(...[...marked].sort((a, b) => Number(a) - Number(b)));
  else put(by("compare"), marked.length ? h("p", { class: "hint" }, `Version ${marked[0]} with … choose another one.`) : null);
}

async function compare(base, version) {
  put(by("compare"), h("p", { class: "hint" }, "Comparing…"));
  try {
    const about = subject(false);
    const [found, ...answers] = await Promise.all([
      get("compare", { model: state.model, base, version }),
      ...[base, version].map((one) => post("predict", { ...about, version: one }).catch((error) => error)),
    ]);
    put(by("compare"), h("h3", {}, `Version ${version} compared with version ${base}`), sameInput(base, version, answers), found.differences.map((one) => difference(one)),
      [...found.only_in_base.map((name) => [name, base]), ...found.only_in_version.map((name) => [name, version])].map(([name, one]) => h("p", {}, `${name} is only in version ${one}, or has another shape there.`)));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    put(by("compare"), h("p", { class: "bad" }, error.message));
  }
}

function sameInput(base, version, answers) {
  const failed = answers.find((one) => one instanceof Error);
  if (failed) return h("p", { class: "hint" }, `The input shown here does not go through both: ${failed.message}`);
  const [first, second] = answers.map((one) => arraysOfOne(one.outputs));
  return h("table", { class: "numbers" }, h("caption", {}, "The input shown here, through both"),
    h("thead", {}, h("tr", {}, ["output", `version ${base}`, `version ${version}`, "difference"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, Object.keys(first).filter((name) => second[name]?.values.length === first[name].values.length).flatMap((name) =>
      Array.from(first[name].values.slice(0, 12), (value, i) => h("tr", {}, h("th", { scope: "row" }, first[name].values.length > 1 ? `${name} ${i + 1}` : name),
        h("td", {}, show(value, 6)), h("td", {}, show(second[name].values[i], 6)), h("td", {}, signed(second[name].values[i] - value)))))));
}

function difference(one) {
  const value = array(one.difference), [rows, columns] = asMatrix(value.shape);
  if (!Number(one.changed)) return h("p", { class: "hint" }, `${one.name} is the same in both.`);
  const groups = gatesOf({ name: one.name, value }, state.now), size = groups.length ? groups[0].stop : columns;
  const map = new Heatmap({ label: `${one.name}, difference`, groups, row: (i) => String(i + 1), column: (j) => String(j % size + 1) });
  map.show({ rows, columns, values: value.values, reach: reachOf(value.values) });
  return h("figure", { class: "map" }, h("figcaption", {}, h("b", {}, one.name), ` ${count(Number(one.changed), "element")} changed, by up to ${show(one.max_change)}; cosine ${show(one.cosine)}`), map.element);
}

function ask(version) {
  wanted = version;
  const model = modelNow();
  say(by("serve-text"), `Version ${version} is to answer all callers of ${state.model}@${model.default_alias} in place of version ${model.default_version}.`);
  say(by("serve-error"), "");
  by("serve-reason").value = "";
  by("serve-form").dataset.request = requestId();
  by("serve-dialog").showModal();
  by("serve-reason").focus();
}

async function serve() {
  const reason = by("serve-reason").value.trim(), version = wanted;
  if (!reason) return;
  by("serve-send").disabled = true;
  try {
    await post("serve", { model: state.model, version, expected_version: modelNow().default_version, reason, request_id: by("serve-form").dataset.request });
    by("serve-dialog").close();
    await refreshModels();
    await choose(state.model, version, { keep: true });
    change({ news: `Version ${version} is in service now; reason: ${reason}` });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say(by("serve-error"), error.message);
    if (error.reason === "CONFLICT") await refreshModels();
  } finally {
    by("serve-send").disabled = false;
  }
}
