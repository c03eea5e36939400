// Activations as Keras defines them, of all sums of a layer at once: only some of them go by each sum alone.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const erf = (x) => { // A. Abramowitz, I. Stegun 1964, 7.1.26, is too coarse here: the series and the continued fraction
  const a = Math.abs(x);
  if (a < 2.5) {
    let term = a, sum = a;
    for (let n = 1; n < 60; n++) { term *= -a * a / n; sum += term / (2 * n + 1); }
    return Math.sign(x) * 2 / Math.sqrt(Math.PI) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
};
const each = (f) => (all) => all.map(f);
const exponents = (all) => { const most = Math.max(...all); return all.map((x) => Math.exp(x - most)); };

const SELU = [1.0507009873554805, 1.6732632423543772];

/** By Keras's name: [of all sums of a layer, the same in NumPy where that is one expression]. */
const KNOWN = {
  linear: [(all) => all, "{}"],
  tanh: [each(Math.tanh), "np.tanh({})"],
  sigmoid: [each(sigmoid), "1 / (1 + np.exp(-({})))"],
  relu: [each((x) => Math.max(0, x)), "np.maximum(0, {})"],
  relu6: [each((x) => Math.min(6, Math.max(0, x))), "np.clip({}, 0, 6)"],
  leaky_relu: [each((x) => (x < 0 ? 0.2 * x : x)), ""],
  hard_sigmoid: [each((x) => Math.min(1, Math.max(0, x / 6 + 0.5))), "np.clip(({}) / 6 + 0.5, 0, 1)"],
  hard_tanh: [each((x) => Math.min(1, Math.max(-1, x))), "np.clip({}, -1, 1)"],
  softplus: [each((x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))), "np.logaddexp(0, {})"],
  softsign: [each((x) => x / (1 + Math.abs(x))), ""],
  elu: [each((x) => (x < 0 ? Math.expm1(x) : x)), ""],
  selu: [each((x) => SELU[0] * (x < 0 ? SELU[1] * Math.expm1(x) : x)), ""],
  exponential: [each(Math.exp), "np.exp({})"],
  silu: [each((x) => x * sigmoid(x)), ""],
  swish: [each((x) => x * sigmoid(x)), ""],
  gelu: [each((x) => x / 2 * (1 + erf(x / Math.SQRT2))), ""],
  mish: [each((x) => x * Math.tanh(Math.log1p(Math.exp(x)))), ""],
  softmax: [(all) => { const e = exponents(all), sum = e.reduce((a, b) => a + b, 0); return e.map((x) => x / sum); }, ""],
};

/** The activated value at one place among all sums of a layer; undefined where the activation is not known here. */
export function activated(name, all, place) {
  return KNOWN[name] ? KNOWN[name][0](Array.from(all))[place] : undefined;
}

/** The activation of an expression in NumPy, or nothing where that takes more than one expression. */
export function inNumpy(name, expression) {
  return KNOWN[name]?.[1] ? KNOWN[name][1].replaceAll("{}", expression) : "";
}
