// Numbers and colours as people read them.

const MINUS = "−";

/** A number in four digits, with a true minus sign. */
export function show(value, digits = 4, decimals = digits + 2) {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text;
  if (size >= 10 ** (digits + 2) || size < 10 ** -digits) text = size.toExponential(Math.max(0, digits - 3)).replace("e+", "e");
  else if (Number.isInteger(value)) text = String(size);
  else text = size.toFixed(Math.max(0, Math.min(decimals, digits - 1 - Math.floor(Math.log10(size)))));
  return (value < 0 ? MINUS : "") + text.replace("e-", `e${MINUS}`);
}

/** A number with its sign, + too. */
export const signed = (value, digits = 4) => (value > 0 ? "+" : "") + show(value, digits);

/** A number for a narrow cell. */
export const short = (value) => show(value, 3, 3);

/** A number that programs read. */
export function exact(value) {
  if (Number.isNaN(value)) return "np.nan";
  if (!Number.isFinite(value)) return value > 0 ? "np.inf" : "-np.inf";
  return String(value);
}

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export function when(text) {
  const time = new Date(text);
  if (!text || Number.isNaN(time.getTime()) || time.getTime() === 0) return "";
  return time.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

/** The largest magnitude of finite values; 1e-9 where all are zero. */
export function reachOf(values) {
  let reach = 1e-9;
  for (const value of values) {
    const size = Math.abs(value);
    if (size > reach && size < Infinity) reach = size;
  }
  return reach;
}

let scale = null; // colours of the theme in use
/**
 * The colour of a value. Negative is blue and positive orange, a pair that people who see no red or green tell apart;
 * with the tone "gate", for values from 0 to 1, green.
 */
export const colour = (value, reach, tone) => css(channels(value, reach, tone));

/** The three channels of `colour`, for pixels. */
export function channels(value, reach, tone) {
  const { zero, below, above, odd, gate } = scale ?? (scale = theme());
  if (!Number.isFinite(value)) return odd;
  return mix(zero, tone === "gate" ? gate : value < 0 ? below : above, Math.min(1, Math.abs(value) / reach) ** 0.8);
}

/** Whether text on a colour of `colour` has to be the light or the dark one. */
export function inkOn(value, reach, tone) {
  const [r, g, b] = channels(value, reach, tone).map((c) => { const x = c / 255; return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}

/** Calls back when the colours have changed. */
export function onTheme(then) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { scale = null; then(); });
}

/** A colour of the style sheet by the name of its variable. */
export const named = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function theme() {
  return Object.fromEntries(["zero", "below", "above", "odd", "gate"].map((name) => [name, parse(named(`--${name}`))]));
}

const parse = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const mix = (a, b, share) => a.map((c, i) => Math.round(c + (b[i] - c) * share));
const css = (c) => `rgb(${c[0]} ${c[1]} ${c[2]})`;
