// Playing a sequence step by step through a stream, with its states carried on.

import { by, say } from "./dom.js";
import { post, arraysOfOne } from "./api.js";
import { state, change, on } from "./store.js";
import { subject } from "./live.js";
import { show } from "./format.js";

const PAUSE = 600; // milliseconds at each timestep

let steps = null; // what the stream answered after each timestep
let carried = null; // states to begin with, out of an earlier run
let runs = 1;
let timer = 0;

export function playing() {
  by("play").addEventListener("click", () => (timer ? pause() : run(PAUSE)));
  by("step").addEventListener("click", () => { pause(); forward(); });
  by("carry").addEventListener("click", () => { carried = steps.at(-1).state; runs += 1; pause(); begin(); });
  by("stop").addEventListener("click", stop);
  on("info", () => {
    const streams = state.info?.streamable;
    for (const id of ["play", "step"]) { by(id).disabled = !streams; by(id).title = streams ? "" : "This version cannot be fed in pieces: it reads sequences backwards, or all at once."; }
  });
  on("info input nudges patches model", () => { if (steps) stop(); });
}

async function begin() {
  try {
    const given = carried ? { initial_state: carried } : {};
    steps = (await post("play", { ...subject(), ...given })).steps;
    at(0);
  } catch (error) {
    say(by("play-text"), error.message);
    stop(false);
  }
}

async function forward() {
  if (!steps) return begin();
  const next = (state.step ?? -1) + 1;
  if (next < steps.length) at(next);
  if (next >= steps.length - 1) pause();
}

async function run(delay) {
  if (steps && state.step >= steps.length - 1) change({ step: null });
  if (state.step === null && steps) at(0);
  timer = setInterval(forward, delay);
  by("play").textContent = "Pause";
  if (!steps) await forward();
}

function pause() {
  clearInterval(timer);
  timer = 0;
  by("play").textContent = "Play";
}

function stop(clear = true) {
  pause();
  steps = carried = null;
  runs = 1;
  by("carry").hidden = by("stop").hidden = true;
  if (clear) say(by("play-text"), "");
  change({ step: null });
}

function at(t) {
  const answers = Object.values(arraysOfOne(steps[t].outputs)).map((one) => Array.from(one.values.slice(-3), (v) => show(v)).join(", "));
  change({ step: t });
  by("stop").hidden = false;
  by("carry").hidden = t < steps.length - 1;
  say(by("play-text"), `After timestep ${t + 1} of ${steps.length}${runs > 1 ? ` (run ${runs}, states carried on)` : ""} the stream answered ${answers.join("; ")}.`);
}
