// A large matrix on a canvas: all of it at once, or some of it large enough to read.

import { h } from "./dom.js";
import { channels, inkOn, named, short } from "./format.js";

const HEIGHT = 320, HATCH_FROM = 7, TEXT_FROM = [44, 16]; // pixels; of a cell that is hatched or gets its number

export class Picture {
  /** map: the Heatmap with the values. onmove(i, j): the cursor came to a cell. */
  constructor(map, onmove) {
    this.map = map;
    this.onmove = onmove;
    this.canvas = h("canvas", {
      tabindex: 0, role: "application", "aria-roledescription": "heat map",
      "aria-label": `${map.label}, ${map.rows} × ${map.columns}; arrow keys move, Enter picks a cell; the table of numbers is below`,
    });
    this.element = h("div", { class: "picture" }, this.canvas);
    this.image = document.createElement("canvas");
    this.factor = 1; // 1: all of it
    this.origin = [0, 0]; // first row and column that are seen, in cells
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** Draws what is seen. */
  draw() {
    const width = this.element.clientWidth, { rows, columns } = this.map;
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    const height = Math.min(HEIGHT, Math.max(64, rows * 16));
    this.cell = [height / rows * this.factor, width / columns * this.factor];
    this.seen = [Math.min(rows, height / this.cell[0]), Math.min(columns, width / this.cell[1])];
    this.origin = this.origin.map((value, axis) => Math.max(0, Math.min(value, (axis ? columns : rows) - this.seen[axis])));
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    this.#paint();
    context.imageSmoothingEnabled = false;
    const [y, x] = this.origin;
    context.drawImage(this.image, x, y, this.seen[1], this.seen[0], 0, 0, this.seen[1] * this.cell[1], this.seen[0] * this.cell[0]);
    this.#details(context);
  }

  /** Makes cells so many times as large; 0 shows all of them. */
  zoom(by) {
    const before = this.seen ?? [1, 1], [i, j] = this.map.at;
    this.factor = by ? Math.max(1, Math.min(1024, this.factor * by)) : 1;
    this.origin = [i - before[0] / 2 / (by || 1), j - before[1] / 2 / (by || 1)];
    this.draw();
  }

  /** Puts the cursor on a cell, and into view. */
  moveTo(i, j) {
    [i, j].forEach((value, axis) => {
      if (value < this.origin[axis]) this.origin[axis] = value;
      if (value + 1 > this.origin[axis] + this.seen[axis]) this.origin[axis] = value + 1 - this.seen[axis];
    });
    this.onmove(i, j);
    this.draw();
  }

  /** The matrix as one pixel for each cell, made again only where values or colours are others. */
  #paint() {
    const { rows, columns, values, reach } = this.map, key = [values, reach, named("--zero")];
    if (this.painted && key.every((part, k) => part === this.painted[k])) return;
    this.painted = key;
    this.image.width = columns;
    this.image.height = rows;
    const context = this.image.getContext("2d"), pixels = context.createImageData(columns, rows);
    for (let k = 0; k < values.length; k++) {
      const [r, g, b] = channels(values[k], reach, this.map.tone);
      pixels.data.set([r, g, b, 255], 4 * k);
    }
    context.putImageData(pixels, 0, 0);
  }

  #details(context) {
    const { columns, rows, values, reach, marked, picked, groups, at } = this.map, [high, wide] = this.cell;
    const cells = (then) => {
      for (let i = Math.floor(this.origin[0]); i < Math.min(rows, this.origin[0] + this.seen[0]); i++) {
        for (let j = Math.floor(this.origin[1]); j < Math.min(columns, this.origin[1] + this.seen[1]); j++) {
          then(i, j, (j - this.origin[1]) * wide, (i - this.origin[0]) * high);
        }
      }
    };
    if (high >= HATCH_FROM && wide >= HATCH_FROM) {
      context.strokeStyle = named("--hatch");
      context.lineWidth = 1;
      context.beginPath();
      const text = wide >= TEXT_FROM[0] && high >= TEXT_FROM[1];
      cells((i, j, x, y) => {
        if (values[i * columns + j] < 0 && !text) { context.moveTo(x + 1, y + high - 1); context.lineTo(x + wide - 1, y + 1); }
      });
      context.stroke();
      if (text) {
        context.font = `12px ${named("--mono")}`;
        context.textAlign = "center";
        context.textBaseline = "middle";
        cells((i, j, x, y) => {
          context.fillStyle = inkOn(values[i * columns + j], reach, this.map.tone);
          context.fillText(short(values[i * columns + j]), x + wide / 2, y + high / 2 + 1);
        });
      }
    }
    context.strokeStyle = named("--ink");
    context.lineWidth = 2;
    for (const group of groups.slice(1)) {
      const x = (group.start - this.origin[1]) * wide;
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, this.seen[0] * high);
      context.stroke();
    }
    const frame = (i, j, style) => {
      context.strokeStyle = named(style);
      context.strokeRect((j - this.origin[1]) * wide - 1, (i - this.origin[0]) * high - 1, Math.max(4, wide) + 2, Math.max(4, high) + 2);
    };
    if (rows * columns <= 1e5) cells((i, j) => { if (marked(i * columns + j)) frame(i, j, "--accent"); });
    else for (const k of this.map.marks ?? []) frame(Math.floor(k / columns), k % columns, "--accent");
    if (picked >= 0) frame(Math.floor(picked / columns), picked % columns, "--ink");
    if (document.activeElement === this.canvas) frame(at[0], at[1], "--ink");
  }

  #listen() {
    const { canvas } = this;
    let from = null;
    const cell = (event) => {
      const box = canvas.getBoundingClientRect();
      return [
        Math.max(0, Math.min(this.map.rows - 1, Math.floor(this.origin[0] + (event.clientY - box.top) / this.cell[0]))),
        Math.max(0, Math.min(this.map.columns - 1, Math.floor(this.origin[1] + (event.clientX - box.left) / this.cell[1]))),
      ];
    };
    canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, y: event.clientY, origin: [...this.origin], moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      if (Math.hypot(dx, dy) > 4) from.moved = true;
      if (from.moved && this.factor > 1) {
        this.origin = [from.origin[0] - dy / this.cell[0], from.origin[1] - dx / this.cell[1]];
        this.draw();
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      if (from && !from.moved) {
        const at = cell(event);
        this.moveTo(...at);
        this.map.onpick?.(...at);
      }
      from = null;
    });
    for (const event of ["focus", "blur"]) canvas.addEventListener(event, () => this.draw());
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return; // plain scrolling stays the page's
      event.preventDefault();
      this.map.at = cell(event);
      this.zoom(event.deltaY < 0 ? 1.5 : 1 / 1.5);
    }, { passive: false });
  }
}

