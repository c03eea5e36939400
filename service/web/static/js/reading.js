// Numbers out of files and clipboards: CSV and JSON, as people have them.

export const MOST_ROWS = 100_000;

/**
 * Rows of numbers out of a text: {columns: names or null, rows: arrays of numbers}, or {inputs: {name: nested lists}}.
 * Throws an Error in one sentence for anything else.
 */
export function read(text) {
  const trimmed = text.replace(/^\uFEFF/, "").trim();
  if (!trimmed) throw new Error("There is nothing in it.");
  return /^[[{]/.test(trimmed) ? readJson(trimmed) : readTable(trimmed);
}

function readJson(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}.`);
  }
  if (!Array.isArray(value)) {
    const inputs = value.inputs && typeof value.inputs === "object" && !Array.isArray(value.inputs) ? value.inputs : value;
    if (Array.isArray(value.inputs)) return readJson(JSON.stringify(value.inputs));
    return { inputs };
  }
  while (depth(value) > 2 && value.length === 1) value = value[0]; // a batch of one
  if (depth(value) > 2) return { windows: value.map((one) => numbers(one)) };
  return { columns: null, rows: numbers(value) };
}

function numbers(value) {
  const rows = value.map((row) => (Array.isArray(row) ? row.flat(Infinity) : [row]));
  rows.forEach((row, i) => {
    if (row.length !== rows[0].length) throw new Error(`Row ${i + 1} has ${row.length} numbers, the first has ${rows[0].length}.`);
    row.forEach((x) => { if (typeof x !== "number" || !Number.isFinite(x)) throw new Error(`Row ${i + 1} has ${JSON.stringify(x)}, which is no number.`); });
  });
  return rows;
}

function depth(value) {
  return Array.isArray(value) ? 1 + (value.length ? depth(value[0]) : 0) : 0;
}

/** CSV with commas, semicolons, tabs or spaces; with or without a line of names; decimal commas where ; separates. */
function readTable(text) {
  const lines = text.split(/\r\n|\r|\n/).filter((line) => line.trim() && !line.startsWith("#"));
  if (lines.length > MOST_ROWS) throw new Error(`It has ${lines.length} lines; the limit is ${MOST_ROWS}.`);
  const separator = ["\t", ";", ","].find((one) => lines[0].includes(one)) ?? /\s+/;
  const cells = (line) => line.trim().split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));
  const number = (cell) => (cell === "" ? NaN : Number(separator === ";" ? cell.replace(",", ".") : cell));
  let columns = null;
  if (cells(lines[0]).some((cell) => Number.isNaN(number(cell)))) columns = cells(lines.shift());
  const width = columns?.length ?? cells(lines[0] ?? "").length;
  const rows = lines.map((line, i) => {
    const row = cells(line);
    if (row.length !== width) throw new Error(`Line ${i + 1 + (columns ? 1 : 0)} has ${row.length} cells, the first has ${width}.`);
    return row.map(number);
  });
  if (!rows.length) throw new Error("It has names of columns only.");
  const kept = [...Array(width).keys()].filter((j) => rows.every((row) => Number.isFinite(row[j])));
  if (!kept.length) throw new Error("No column holds numbers only.");
  return { columns: columns && kept.map((j) => columns[j]), rows: rows.map((row) => kept.map((j) => row[j])), left: width - kept.length };
}

/**
 * The columns of a table that an input takes: by name where both have names, else the first ones after a column that
 * only counts up, as times do.
 * Throws an Error in one sentence where there are too few.
 */
export function columnsFor({ columns, rows }, features, names) {
  const found = names?.length === features && columns ? names.map((name) => columns.indexOf(name)) : [-1];
  const more = rows[0].length > features, first = more && rows.every((row, i) => !i || row[0] > rows[i - 1][0]) ? 1 : 0;
  const places = found.every((place) => place >= 0) ? found : Array.from({ length: features }, (_, f) => f + first);
  if (rows[0].length < features) {
    throw new Error(`The input takes ${features} columns of numbers, this has ${rows[0].length}.`);
  }
  return rows.map((row) => places.map((j) => row[j]));
}
