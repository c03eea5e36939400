// A matrix as colours: a table of numbers where it is small, a canvas that zooms where it is large.

import { h, put, disclosure } from "./dom.js";
import { show, short, colour, inkOn, reachOf } from "./format.js";
import { Picture } from "./picture.js";

const MOST_CELLS = 480; // of a table; more are drawn on a canvas
const MOST_COLUMNS = 64;
const PAGE = [24, 12]; // rows and columns of the table behind a canvas

/**
 * A matrix that people look at, step through with the arrow keys, and pick cells of.
 *
 * label: what it is. row, column: texts for an index. groups: [{name, start, stop}] over the columns.
 * tone: as for `colour`. onpick(i, j): a cell was clicked, or Enter pressed on it. onkey(i, j, event): any other key.
 */
export class Heatmap {
  constructor({ label, row = String, column = String, groups = [], tone, onpick, onkey }) {
    Object.assign(this, { label, row, column, groups, tone, onpick, onkey });
    this.element = h("div", { class: "heatmap" });
    this.at = [0, 0];
    this.shape = null;
  }

  /** Shows values in row-major order. marked(k): whether the cell is one of those that were changed. */
  show({ rows, columns, values, reach = reachOf(values), marked = () => false, picked = -1 }) {
    Object.assign(this, { rows, columns, values, reach, marked, picked });
    const shape = `${rows}×${columns}`;
    if (shape !== this.shape) {
      this.shape = shape;
      this.at = [Math.min(this.at[0], rows - 1), Math.min(this.at[1], columns - 1)];
      this.large = rows * columns > MOST_CELLS || columns > MOST_COLUMNS;
      if (this.large) this.#makePicture();
      else this.#makeTable();
    }
    if (this.large) {
      this.picture.draw();
      this.behind.update();
    } else this.#fillTable();
  }

  /** Moves the cursor to a cell and gives it the focus. */
  focus(i, j) {
    this.#move(i, j);
  }

  #makeTable() {
    const head = [];
    if (this.groups.length) {
      head.push(h("tr", {}, h("td", {}), this.groups.map((group) => h("th", { colspan: group.stop - group.start, scope: "colgroup", class: "group" }, group.name))));
    }
    head.push(h("tr", {}, h("td", {}), Array.from({ length: this.columns }, (_, j) => h("th", { scope: "col" }, this.column(j)))));
    this.cells = [];
    const starts = new Set(this.groups.slice(1).map((group) => group.start));
    const body = Array.from({ length: this.rows }, (_, i) => h("tr", {}, h("th", { scope: "row" }, this.row(i)),
      Array.from({ length: this.columns }, (_, j) => {
        const cell = h("td", { tabindex: i === this.at[0] && j === this.at[1] ? 0 : -1, class: starts.has(j) ? "first" : null });
        cell.dataset.at = `${i},${j}`;
        this.cells.push(cell);
        return cell;
      })));
    const find = (event) => event.target.closest("td[data-at]")?.dataset.at.split(",").map(Number);
    const table = h("table", {
      class: "matrix", role: "grid", "aria-label": this.label,
      onclick: (event) => { const at = find(event); if (at) { this.#move(...at); this.onpick?.(...at); } },
      onkeydown: (event) => { const at = find(event); if (at) this.#key(event, ...at); },
    }, h("thead", {}, head), h("tbody", {}, body));
    put(this.element, h("div", { class: "scroll" }, table));
  }

  #fillTable() {
    const { cells, values, reach } = this;
    for (let k = 0; k < cells.length; k++) {
      const cell = cells[k], value = values[k];
      const text = short(value);
      if (cell.textContent !== text) cell.textContent = text;
      if (cell.seen !== value || cell.reach !== reach) {
        cell.style.backgroundColor = colour(value, reach, this.tone);
        cell.style.color = inkOn(value, reach, this.tone);
        cell.seen = value;
        cell.reach = reach;
      }
      cell.classList.toggle("marked", this.marked(k));
      cell.classList.toggle("picked", k === this.picked);
    }
  }

  /** Colours anew, for another theme. */
  repaint() {
    if (this.shape === null) return;
    for (const cell of this.cells ?? []) cell.seen = undefined;
    if (this.large) this.picture.draw();
    else this.#fillTable();
  }

  #makePicture() {
    this.cells = [];
    const about = h("output", { class: "readout" });
    this.picture = new Picture(this, (i, j) => {
      this.at = [i, j];
      about.textContent = `${this.row(i)}, ${this.column(j)}: ${show(this.values[i * this.columns + j])}`;
    });
    this.picture.canvas.addEventListener("keydown", (event) => this.#key(event, ...this.at));
    this.page = [0, 0];
    this.behind = disclosure("Table of numbers", () => this.#table());
    const zoom = (label, by) => h("button", { type: "button", class: "small", onclick: () => this.picture.zoom(by) }, label);
    put(this.element, this.picture.element,
      h("div", { class: "row tools" }, zoom("Zoom in", 2), zoom("Zoom out", 0.5), zoom("Fit", 0), about), this.behind);
  }

  /** One page of the table behind a canvas. */
  #table() {
    const from = this.page.map((page, axis) => page * PAGE[axis]);
    const to = from.map((start, axis) => Math.min(start + PAGE[axis], axis ? this.columns : this.rows));
    const range = (axis) => Array.from({ length: to[axis] - from[axis] }, (_, k) => from[axis] + k);
    const turn = (axis, by, label) => {
      const pages = Math.ceil((axis ? this.columns : this.rows) / PAGE[axis]);
      const next = this.page[axis] + by;
      return h("button", { type: "button", class: "small", disabled: next < 0 || next >= pages, onclick: () => { this.page[axis] = next; this.behind.update(); } }, label);
    };
    return [
      h("div", { class: "row tools" }, turn(0, -1, "Rows before"), turn(0, 1, "Rows after"), turn(1, -1, "Columns before"), turn(1, 1, "Columns after")),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Numbers of ${this.label}` }, h("table", { class: "numbers" },
        h("caption", {}, `${this.label}: rows ${from[0] + 1}–${to[0]} of ${this.rows}, columns ${from[1] + 1}–${to[1]} of ${this.columns}`),
        h("thead", {}, h("tr", {}, h("td", {}), range(1).map((j) => h("th", { scope: "col" }, this.column(j))))),
        h("tbody", {}, range(0).map((i) => h("tr", {}, h("th", { scope: "row" }, this.row(i)),
          range(1).map((j) => h("td", {}, show(this.values[i * this.columns + j])))))))),
    ];
  }

  #key(event, i, j) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-10, 0], PageDown: [10, 0] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (steps[event.key]) this.#move(i + steps[event.key][0], j + steps[event.key][1]);
    else if (event.key === "Home") this.#move(i, 0);
    else if (event.key === "End") this.#move(i, this.columns - 1);
    else if (event.key === "Enter" || event.key === " ") this.onpick?.(i, j);
    else if (!this.onkey?.(i, j, event)) return;
    event.preventDefault();
  }

  #move(i, j) {
    const clamp = (value, most) => Math.max(0, Math.min(most - 1, value));
    const [y, x] = [clamp(i, this.rows), clamp(j, this.columns)];
    if (this.large) {
      this.picture.moveTo(y, x);
      this.picture.canvas.focus();
      return;
    }
    const cell = (at) => this.cells[at[0] * this.columns + at[1]];
    cell(this.at)?.setAttribute("tabindex", -1);
    this.at = [y, x];
    cell(this.at).setAttribute("tabindex", 0);
    cell(this.at).focus();
  }
}
