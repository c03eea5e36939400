// Elements without markup: all text goes in as text, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Functions among the attributes are listeners; true sets an attribute, false and null leave it out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, otherwise as `h`. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Puts other children into an element. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The element with this id. */
export const by = (id) => document.getElementById(id);

/** Sets a text only where it differs, so that screen readers hear changes alone. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Copies a text, and says so on the button that was pressed. */
export async function copy(text, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Only secure pages may use the clipboard; this older way works on the others.
    const area = h("textarea", { class: "offscreen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const label = button.dataset.label ?? (button.dataset.label = button.textContent);
  button.textContent = done ? "Copied" : "Cannot copy";
  setTimeout(() => { button.textContent = label; }, 1500);
}

/** A disclosure whose content is made when it is opened first, and again whenever `update` is called while it is open. */
export function disclosure(summary, make) {
  const body = h("div", { class: "disclosed" });
  const element = h("details", { ontoggle: () => element.update() }, h("summary", {}, summary), body);
  element.update = () => { if (element.open) put(body, make()); };
  return element;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
