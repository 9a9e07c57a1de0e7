// The address of the page is its state: the view, the filter, the open record. Every view can be kept as a link.

const ONE = ["since", "until", "level"];
const MANY = ["subsystem", "logger", "event", "where", "contains"];
const OWN = { records: ["record", "part", "live"], chain: ["log"], health: [], sql: ["query"] };

/** The names of the views. */
export const VIEWS = Object.keys(OWN);

const listeners = new Set();

/**
 * Read the address.
 * @returns {{view: string, filter: Object, record: string, part: string, live: boolean, log: string, query: string}}
 */
export function current() {
  const [, path = "", query = ""] = /^#\/([^?]*)\??(.*)$/s.exec(location.hash) ?? [];
  const given = new URLSearchParams(query);
  const filter = {};
  for (const name of ONE) filter[name] = given.get(name) ?? "";
  for (const name of MANY) filter[name] = given.getAll(name).filter(Boolean);
  return {
    view: VIEWS.includes(path) ? path : "records",
    filter,
    record: given.get("record") ?? "",
    part: given.get("part") ?? "",
    live: given.get("live") === "1",
    log: given.get("log") ?? "",
    query: given.get("query") ?? "",
  };
}

/** Write an address for a state; what is left out is as now, except what belongs to another view. */
export function link(change) {
  const state = { ...current(), ...("record" in change ? { part: "" } : {}), ...change };
  const query = new URLSearchParams(parameters(state.filter));
  for (const name of OWN[state.view]) {
    const value = state[name] === true ? "1" : state[name];
    if (value) query.set(name, value);
  }
  const text = query.toString();
  return `#/${state.view}${text ? `?${text}` : ""}`;
}

/** Return a filter as parameters of the server. */
export function parameters(filter) {
  const pairs = ONE.filter((name) => filter[name]).map((name) => [name, filter[name]]);
  for (const name of MANY) for (const value of filter[name]) pairs.push([name, value]);
  return pairs;
}

/** A filter that selects every record. */
export function everything() {
  return Object.fromEntries([...ONE.map((name) => [name, ""]), ...MANY.map((name) => [name, []])]);
}

/** Go to a state; with `replace`, the button Back of the browser does not return to the present one. */
export function go(change, { replace = false } = {}) {
  const address = link(change);
  if (address === location.hash) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  tell();
}

/** Change the filter; the open record is closed. */
export function filterBy(change, options) {
  go({ filter: { ...current().filter, ...change }, record: "", ...(change.until ? { live: false } : {}) }, options);
}

/** Call a function after each change of the address. */
export function onChange(listener) {
  listeners.add(listener);
}

function tell() {
  for (const listener of listeners) listener(current());
}

window.addEventListener("popstate", tell);

/** Return a condition on a field as the server reads it, or "" if the field or value cannot be written as one. */
export function condition(path, operator, value) {
  if (!path || /[=<>!~]|^\s|\s$/.test(path)) return "";
  if (value === null || typeof value === "boolean") return `${path}${operator}${value}`;
  if (typeof value === "number") return `${path}${operator}${value}`;
  return typeof value === "string" && value.length <= 500 ? `${path}${operator}"${value}"` : "";
}

/** The fields that the server has a list for. A field of a record may have any name, also "constructor". */
const LISTS = new Set(["logger", "subsystem", "event"]);

/** Return the change of the filter that leaves only the records with a value of a field; null if there is none. */
export function only(filter, field, value) {
  const plain = typeof value === "string" && value && !/^!|[*?[\]]/.test(value);
  if (LISTS.has(field) && plain) return filter[field].includes(value) ? null : { [field]: [...filter[field], value] };
  return added(filter, condition(field, "=", value));
}

/** Return the change of the filter that leaves out the records with a value of a field; null if there is none. */
export function without(filter, field, value) {
  return added(filter, condition(field, "!=", value));
}

function added(filter, text) {
  return text && !filter.where.includes(text) ? { where: [...filter.where, text] } : null;
}
