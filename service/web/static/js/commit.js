// The section "Put into service": the changes become a version that all callers get.

import { h, by, put, say } from "./dom.js";
import { post, Failure } from "./api.js";
import { state, change, on, idle, modelNow, forbidden } from "./store.js";
import { selection } from "./network.js";
import { show, exact } from "./format.js";
import { set } from "./changes.js";
import { choose, refreshModels } from "./choosing.js";

let id = ""; // of the request: sent again, it is done once

export function commit() {
  on("nudges patches server version models away", draw);
  by("commit").addEventListener("click", open);
  by("commit-form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  by("commit-cancel").addEventListener("click", () => by("commit-dialog").close());
}

/** Why the changes cannot be put into service, or nothing. */
function why() {
  const model = modelNow();
  if (!state.nudges.length) return state.patches.length ? "Only weights can be put into service; patches stay on this page." : "Nudge a weight first.";
  if (state.nudges.every(idle)) return "These weights are as they were: move a slider first.";
  if (state.away) return "The server is away.";
  if (model && !model.default_alias) return "The model is served by number, so that there is no alias to move.";
  if (model && state.version !== model.default_version) return `Version ${state.version} is not the one in service, version ${model.default_version}.`;
  return forbidden("override", "promote");
}

function draw() {
  const reason = why();
  by("commit").disabled = Boolean(reason);
  say(by("commit-why"), state.nudges.length ? reason : "");
}

function open() {
  id = requestId();
  const [name] = Object.keys(state.now.outputs), before = state.base.outputs[name].values.at(-1), after = state.now.outputs[name].values.at(-1);
  put(by("commit-body"),
    h("p", {}, `These changes of ${state.model} version ${state.version} become a new version, which answers all callers:`),
    h("ul", { class: "plain" }, state.nudges.map((one) => {
      const weight = state.weights.find((two) => two.name === one.weight);
      return h("li", {}, h("code", {}, `${one.weight}${selection(weight?.value.shape, one.ranges)}`), ` ${one.operation} ${exact(one.value)}`);
    })),
    state.patches.length ? h("p", { class: "hint" }, "Patches stay on this page: they are no weights.") : null,
    h("p", {}, `For the input shown here, the prediction moves from ${show(before, 6)} to ${show(after, 6)}${state.patches.length ? ", patches included" : ""}.`));
  say(by("commit-error"), "");
  put(by("commit-conflict"));
  by("commit-reason").value = "";
  by("commit-dialog").showModal();
  by("commit-reason").focus();
}

async function send() {
  const reason = by("commit-reason").value.trim();
  if (!reason) return;
  by("commit-send").disabled = true;
  say(by("commit-error"), "");
  try {
    const made = await post("override", {
      model: state.model, expected_version: state.version, reason, request_id: id, changes: state.nudges,
    });
    by("commit-dialog").close();
    set({ nudges: [], patches: [] });
    await refreshModels();
    await choose(state.model, made.version);
    change({ news: `Version ${made.version} is in service now; reason: ${reason}` });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.reason === "CONFLICT") await conflict(error);
    else say(by("commit-error"), error.passing ? `${error.message} Send it again: it is done once.` : error.message);
  } finally {
    by("commit-send").disabled = false;
  }
}

/** Shows what moved, and offers to apply the nudges to the version that is in service now. */
async function conflict(error) {
  await refreshModels();
  const model = modelNow(), served = model?.versions.find((one) => one.version === model.default_version);
  say(by("commit-error"), "Nothing was changed: the version in service is another one now.");
  put(by("commit-conflict"),
    h("p", {}, error.message),
    served ? h("p", {}, `Version ${served.version}${served.actor ? ` by ${served.actor}` : ""}${served.reason ? `; reason: ${served.reason}` : ""}`) : null,
    model ? h("button", {
      type: "button",
      onclick: async () => {
        by("commit-dialog").close();
        await choose(state.model, model.default_version, { keep: true });
      },
    }, `Apply the nudges to version ${model.default_version}`) : null);
}

export function requestId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
