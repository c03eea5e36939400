// The section "Prediction": what the version answers, and what it answers with the changes.

import { h, by, put, say } from "./dom.js";
import { isText } from "./api.js";
import { state, on, differs } from "./store.js";
import { show, signed } from "./format.js";
import { lines, bars, numbers } from "./charts.js";

const MOST_BARS = 24;
const SHOWN_LEVELS = [80, 95]; // of intervals, in percent, where the version has them
let details = new Map();

export function prediction() {
  on("now base failure away examples step", draw);
}

function draw() {
  const { now, base } = state;
  by("prediction").classList.toggle("stale", Boolean(state.away || state.failure));
  if (!now) return;
  const with_ = differs() && now !== base;
  const targets = Object.keys(now.outputs);
  put(by("prediction-body"), targets.map((name) => output(name, base.outputs[name], with_ ? now.outputs[name] : null, targets.length > 1)));
  say(by("prediction-note"), now.without ? now.without : "");
  const odd = targets.some((name) => now.outputs[name].values.some((v) => typeof v === "number" && !Number.isFinite(v)));
  by("prediction-odd").hidden = !odd;
  strip(now, base, with_);
}

/** The line that stays in view on narrow screens. */
function strip(now, base, with_) {
  const [name] = Object.keys(now.outputs), before = base.outputs[name].values, after = now.outputs[name].values;
  say(by("strip"), with_ ? `${show(before.at(-1))} → ${show(after.at(-1))}` : show(after.at(-1)));
}

/** What the elements along the last axis of an output are called, where the version knows that: classes, or targets. */
export function namesOf(width) {
  const known = [state.examples?.classes, state.info?.data?.targets].find((names) => names?.length === width);
  return Array.from({ length: width }, (_, i) => known?.[i] ?? "");
}

function output(name, before, after, several) {
  const { shape, values } = before, now = after?.values, target = state.examples?.target, classes = state.examples?.classes ?? [];
  const title = several ? h("h3", {}, name) : null, n = values.length;
  if (isText(values)) return h("div", {}, title, h("p", { class: "big" }, (now ?? values).slice(0, MOST_BARS).join(", ")));
  const intervals = several ? [] : state.base.intervals ?? [];
  if (n === 1) return h("div", {}, title, one(values[0], now?.[0], target), within(intervals));
  const width = shape.at(-1), timesteps = shape.length > 1 ? n / width : 1;
  if (timesteps === 1 || (shape.length === 1 && n <= MOST_BARS && isDistribution(values))) {
    const names = namesOf(n).map((known, i) => known || String(i + 1));
    const horizon = !isDistribution(values) && !classes.length && n > 1 && shape.length === 1 && Number(state.examples?.horizon ?? 0) > 1;
    if (!horizon && n <= MOST_BARS) {
      return h("div", {}, title, isDistribution(now ?? values) ? winner(names, values, now) : null,
        bars({ label: `${name}: a bar for each element`, names, values: now ?? values, old: now ? values : undefined, high: isDistribution(values) ? 1 : undefined }),
        behind(name, "element", values, now, (i) => names[i]));
    }
    return h("div", {}, title, series(name, values, now, horizon ? "step ahead" : "element", intervals));
  }
  const ahead = Number(state.examples?.horizon ?? 0) === timesteps ? "step ahead" : "timestep";
  return h("div", {}, title, namesOf(width).slice(0, 6).map((known, j) => {
    const column = (all) => all && Float64Array.from({ length: timesteps }, (_, t) => all[t * width + j]);
    const own = intervals.map(({ level, lower, upper }) => ({ level, lower: column(lower), upper: column(upper) }));
    return h("div", {}, width > 1 ? h("h4", {}, known || `element ${j + 1}`) : null, series(`${name} ${known || j + 1}`, column(values), column(now), ahead, own));
  }), width > 6 ? h("p", { class: "hint" }, `6 of ${width} elements are drawn; "States and gates" has all of them.`) : null);
}

function one(before, after, target) {
  const unit = target?.unit ? h("span", { class: "unit" }, ` ${target.unit}`) : null;
  return [
    target?.name ? h("p", { class: "hint" }, target.name) : null,
    h("p", { class: "big" }, h("span", { class: after === undefined ? "value" : "value old" }, show(before, 6)),
      after === undefined ? null : [h("span", { class: "arrow" }, " → "), h("span", { class: "value new", "data-test": "new" }, show(after, 6))], unit),
    after === undefined ? null : h("p", { class: "difference" }, `difference ${signed(after - before)}`,
      before ? h("span", { class: "hint" }, ` (${signed((after - before) / Math.abs(before) * 100, 3)} %)`) : null),
  ];
}

function winner(names, before, after) {
  const best = (values) => values.indexOf(Math.max(...values));
  const first = names[best(before)], then = after && names[best(after)];
  return h("p", { class: "big" }, h("span", { class: then && then !== first ? "value old" : "value" }, first),
    then && then !== first ? [h("span", { class: "arrow" }, " → "), h("span", { class: "value new", "data-test": "new" }, then)] : null);
}

/** The intervals of one number. */
function within(intervals) {
  const shown = intervals.filter((one) => SHOWN_LEVELS.includes(one.level));
  return (shown.length ? shown : intervals.slice(-1)).map(({ level, lower, upper }) => h("p", { class: "hint" }, `${show(level)} % interval: ${show(lower[0])} to ${show(upper[0])}`));
}

function series(name, before, after, axis, intervals) {
  const fitting = intervals.filter((one) => one.lower.length === before.length), bands = fitting.filter((one) => SHOWN_LEVELS.includes(one.level));
  const shown = bands.length ? bands : fitting.slice(-1), levels = shown.map((one) => `${show(one.level)} %`).join(" and ");
  const drawn = [{ name: "before", values: before, style: after ? "old" : "plain" }, ...(after ? [{ name: "with the changes", values: after, style: "new" }] : [])];
  const far = after ? Math.max(...Array.from(after, (v, k) => Math.abs(v - before[k]))) : 0;
  return [
    lines({ label: `${name} as a line`, series: drawn, axis, bands: shown.map(({ lower, upper }) => ({ low: lower, high: upper })).reverse(), mark: state.step !== null && axis === "timestep" ? state.step : undefined }),
    after ? h("p", { class: "difference", "data-test": "new" }, `largest difference ${show(far)}`) : null,
    shown.length ? h("p", { class: "hint" }, `The band${shown.length > 1 ? "s are" : " is"} where ${levels} of the values should lie.`) : null,
    behind(name, axis, before, after, undefined, shown),
  ];
}

function behind(name, axis, before, after, row, bands = []) {
  const columns = [{ name: after ? "before" : "value", values: before }];
  if (after) columns.push({ name: "with the changes", values: after }, { name: "difference", values: Array.from(after, (v, k) => v - before[k]) });
  for (const { level, lower, upper } of bands) columns.push({ name: `${show(level)} %, lower`, values: lower }, { name: "upper", values: upper });
  const open = details.get(name)?.open;
  const made = numbers(`Numbers of ${name}`, axis, columns, row);
  details.set(name, made);
  if (open) { made.open = true; made.update(); }
  return made;
}

function isDistribution(values) {
  return values.length > 1 && values.every((v) => v >= 0 && v <= 1) && Math.abs(values.reduce((a, b) => a + b, 0) - 1) < 1e-3;
}
