// The fields of a record as a tree. Long texts and large objects are shown in parts.

import { el, shown } from "./dom.js";
import { ExactNumber, number, plain } from "./format.js";

const CHARACTERS = 2000;
const MEMBERS = 100;
const TRACES = { exception: "Traceback", stack: "Stack" };

/** Divide a record: return its fields without traceback and stack, and a title and text for each of these that it has. */
export function divided(record) {
  const fields = Object.fromEntries(Object.entries(record).filter(([key]) => !Object.hasOwn(TRACES, key)));
  const traces = Object.entries(TRACES).filter(([key]) => record[key]).map(([key, title]) => [title, plain(record[key])]);
  return { fields, traces };
}

/**
 * Show a value and all in it.
 * @param {any} value JSON
 * @param {function(string, any): Array<Node>} actions returns the buttons for a value, by its path ("request.path")
 */
export function tree(value, actions = () => []) {
  return el("ul.tree", {}, members(value, "", actions, 0));
}

function members(value, path, actions, from) {
  const entries = Array.isArray(value) ? value.map((item, at) => [String(at), item]) : Object.entries(value);
  const items = entries.slice(from, from + MEMBERS).map(([key, item]) => member(key, item, path ? `${path}.${key}` : key, actions));
  const left = entries.length - from - MEMBERS;
  if (left > 0) {
    const more = el("li", {}, el("button.small", { type: "button" }, `Show more (${number(left)} left)`));
    more.firstChild.addEventListener("click", () => more.replaceWith(...members(value, path, actions, from + MEMBERS)));
    items.push(more);
  }
  return items;
}

function member(key, value, path, actions) {
  const name = el("span.field-name", {}, shown(key));
  if (value !== null && typeof value === "object" && !(value instanceof ExactNumber)) {
    const size = Array.isArray(value) ? value.length : Object.keys(value).length;
    const kind = Array.isArray(value) ? `list of ${number(size)}` : `object of ${number(size)}`;
    if (size === 0) return el("li", {}, name, " ", el("span.kind", {}, kind));
    const inner = el("ul.tree");
    const open = size <= 20;
    const details = el("details", { open }, el("summary", {}, name, " ", el("span.kind", {}, kind)), inner);
    const build = () => inner.childElementCount || inner.append(...members(value, path, actions, 0));
    if (open) build();
    details.addEventListener("toggle", build);
    return el("li.branch", {}, details);
  }
  return el("li.leaf", {}, name, " ", leaf(value), " ", el("span.actions", {}, actions(path, value)));
}

/** Show a value that has no parts; of a long text, its beginning. */
function leaf(value) {
  if (typeof value !== "string") {
    const text = value instanceof ExactNumber ? value.text : JSON.stringify(value);
    return el(`code.value.${value === null ? "null" : typeof value === "boolean" ? "boolean" : "number"}`, {}, text);
  }
  return longText(value, "span.value.text", CHARACTERS);
}

/** Show text with its line breaks; a long one as its beginning, with a button that shows the rest. */
export function longText(text, name, most) {
  if (text.length <= most) return el(name, { dir: "auto" }, shown(text, { lines: true }));
  const node = el(name, { dir: "auto" }, shown(text.slice(0, most), { lines: true }), "…");
  const button = el("button.small", { type: "button" }, `Show all ${number(text.length)} characters`);
  button.addEventListener("click", () => {
    node.replaceChildren(...shown(text, { lines: true }));
    button.remove();
  });
  return el("span.long", {}, node, " ", button);
}
