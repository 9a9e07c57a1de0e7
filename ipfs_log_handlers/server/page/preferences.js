// What a person has chosen for this page: colours, time zone, keys. The browser keeps it; nothing is sent.

const listeners = new Set();

/** Return a choice, or the usual one. */
export function chosen(name, usual) {
  try {
    return localStorage.getItem(name) ?? usual;
  } catch {
    return usual;
  }
}

/** Keep a choice, and tell those who asked to be told. */
export function choose(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // The choice holds until the page is closed.
  }
  if (name === "theme") document.dispatchEvent(new CustomEvent("theme", { detail: value }));
  for (const listener of listeners) listener(name, value);
}

/** Call a function when the colours change, by choice or by the system. */
export function onColours(listener) {
  listeners.add((name) => name === "theme" && listener());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", listener);
}
