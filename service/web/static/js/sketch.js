// Drawing a sequence of one feature with the mouse or a finger; the table beside it does the same by keyboard.

import { h } from "./dom.js";
import { named, short } from "./format.js";

const HEIGHT = 120, EDGE = 12;

export class Sketch {
  /** ondraw(timestep, value): a point was drawn. */
  constructor(label, ondraw) {
    this.canvas = h("canvas", { class: "sketch", role: "img", "aria-label": label });
    this.element = h("div", { class: "sketching" }, this.canvas);
    this.values = [];
    this.range = [0, 1];
    let last = null;
    const point = (event) => {
      const box = this.canvas.getBoundingClientRect(), [low, high] = this.range;
      const t = Math.round((event.clientX - box.left - EDGE) / Math.max(1, box.width - 2 * EDGE) * (this.values.length - 1));
      const share = 1 - (event.clientY - box.top - EDGE) / (box.height - 2 * EDGE);
      return [Math.max(0, Math.min(this.values.length - 1, t)), low + Math.max(0, Math.min(1, share)) * (high - low)];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      last = point(event);
      ondraw([last]);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const to = point(event), steps = Math.abs(to[0] - last[0]), drawn = [];
      for (let k = 1; k <= Math.max(1, steps); k++) { // a quick hand leaves no gap
        const share = steps ? k / steps : 1;
        drawn.push([Math.round(last[0] + (to[0] - last[0]) * share), last[1] + (to[1] - last[1]) * share]);
      }
      last = to;
      ondraw(drawn);
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => { last = null; });
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** Shows a sequence; known: the range that the version was trained on, if it is known. */
  show(values, known) {
    this.values = values;
    const low = Math.min(...values, known?.[0] ?? Infinity), high = Math.max(...values, known?.[1] ?? -Infinity);
    const room = (high - low || 1) * 0.1;
    if (low < this.range[0] || high > this.range[1] || !this.shown || (high - low) < (this.range[1] - this.range[0]) / 4) this.range = [low - room, high + room];
    this.known = known;
    this.shown = true;
    this.draw();
  }

  draw() {
    const width = this.element.clientWidth, ratio = devicePixelRatio || 1;
    if (!width) return;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = HEIGHT * ratio;
    const context = this.canvas.getContext("2d"), [low, high] = this.range, n = this.values.length;
    context.scale(ratio, ratio);
    const x = (t) => EDGE + (n > 1 ? t / (n - 1) : 0.5) * (width - 2 * EDGE);
    const y = (value) => EDGE + (1 - (value - low) / (high - low || 1)) * (HEIGHT - 2 * EDGE);
    if (this.known) {
      context.fillStyle = named("--quiet");
      context.fillRect(0, y(this.known[1]), width, y(this.known[0]) - y(this.known[1]));
    }
    context.font = `11px ${named("--sans")}`;
    context.fillStyle = named("--dim");
    context.fillText(short(high), 2, 10);
    context.fillText(short(low), 2, HEIGHT - 2);
    context.strokeStyle = context.fillStyle = named("--accent");
    context.lineWidth = 2;
    context.beginPath();
    this.values.forEach((value, t) => context.lineTo(x(t), y(value)));
    context.stroke();
    if (n <= 60) this.values.forEach((value, t) => { context.beginPath(); context.arc(x(t), y(value), 3, 0, 7); context.fill(); });
  }
}
