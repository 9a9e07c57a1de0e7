// Makes elements. All text of a record comes into the page here, and only as text: no module reads text as HTML.

/** Characters that a person cannot see, or that change the direction of the text around them. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

/**
 * Make an element.
 * @param {string} name its tag, with classes: "span.level.error"
 * @param {Object<string, any>} given attributes; "on…" is a listener, "data" a mapping of data attributes
 * @param {...(Node|string|null|undefined|Array)} content its content; a string becomes text
 */
export function el(name, given = {}, ...content) {
  const [tag, ...classes] = name.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.classList.add(...classes);
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "data") Object.assign(node.dataset, value);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...content.flat(Infinity).filter((part) => part !== null && part !== undefined && part !== false));
  return node;
}

/** Replace the content of an element. */
export function fill(node, ...content) {
  node.replaceChildren(...content.flat(Infinity).filter((part) => part !== null && part !== undefined && part !== false));
  return node;
}

/** Find an element of index.html. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Return text of a record as nodes. Control characters, and characters that change the direction of text, are written
 * as escapes (\x1b, \u202e), as the command line writes them. Line breaks stay if `lines` is true.
 */
export function shown(text, { lines = false } = {}) {
  const nodes = [];
  const hidden = lines ? UNSEEN : new RegExp(`[\\n\\t]|${UNSEEN.source}`, "gu");
  let from = 0;
  for (const match of text.matchAll(hidden)) {
    if (match.index > from) nodes.push(text.slice(from, match.index));
    nodes.push(el("span.escape", { title: "a character that cannot be seen" }, escaped(match[0])));
    from = match.index + match[0].length;
  }
  if (from < text.length) nodes.push(text.slice(from));
  return nodes;
}

/** Return the beginning of text, on one line, for a place with little room. */
export function shortened(text, characters) {
  return text.length > characters ? `${text.slice(0, characters)}…` : text;
}

function escaped(character) {
  const known = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
  const code = character.codePointAt(0);
  return known ?? (code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`);
}

/** Tell people who use a screen reader what has changed. */
export function announce(text) {
  byId("status").textContent = text;
}

/** Make a button that copies text, and says so. */
export function copyButton(text, what) {
  const button = el("button.small", { type: "button", "aria-label": `Copy ${what}`, title: `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      announce(`Copied ${what}.`);
    } catch {
      button.textContent = "Not copied";
      announce(`The browser does not let this page copy ${what}.`);
    }
  });
  return button;
}
