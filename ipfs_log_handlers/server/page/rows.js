// One record as a row of the table, and its fields below it when it is expanded.

import { el, shortened, shown } from "./dom.js";
import { dayAndTime, plain } from "./format.js";
import { link } from "./route.js";
import { stateLink } from "./states.js";
import { levelGroup } from "./stacked.js";
import { divided, longText, tree } from "./tree.js";

/** The keys of a record that have a column, or a place of their own. */
const ENVELOPE = new Set(["time", "level", "logger", "event", "subsystem", "exception", "stack", "pid", "seq", "origin"]);

/** The columns: class, title. */
export const COLUMNS = [["time", "Time"], ["level", "Level"], ["logger", "Logger"], ["subsystem", "Subsystem"], ["event", "Event and fields"], ["proof", "Proof"]];

const EVENT = 400;
const FIELDS = 300;

/** Make the row of a record. */
export function rowOf(entry) {
  const { record } = entry;
  const [day, time] = dayAndTime(record.time);
  const group = levelGroup(record.level);
  const logger = plain(record.logger ?? "");
  const event = shortened(plain(record.event ?? record.message ?? ""), EVENT);
  const subsystem = plain(record.subsystem ?? "");
  const row = el(
    "tr.record", { tabindex: "-1", data: { level: group, ...(entry.id ? { id: entry.id } : {}) } },
    el("td.time", {}, el("time", { datetime: plain(record.time ?? ""), title: `${day} ${time} – ${plain(record.time ?? "")}` }, el("span.day", {}, day), " ", time)),
    el("td.level", {}, el(`span.level-name.${group}`, {}, shown(shortened(plain(record.level ?? "–"), 20)))),
    el("td.logger", {}, el("bdi", { title: shortened(logger, 300) }, shown(shortened(logger, 100)))),
    el("td.subsystem", {}, el("bdi", { title: shortened(subsystem, 300) }, shown(shortened(subsystem, 60)))),
    el("td.event", {}, title(entry, event), el("span.fields", { dir: "auto" }, fieldsOf(record)), record.exception ? el("span.tag", {}, "traceback") : null),
    el("td.proof", {}, stateLink(entry)),
  );
  row.entry = entry;
  return row;
}

function title(entry, event) {
  const text = event === "" ? [el("em", {}, "no event")] : shown(event);
  return entry.id ? el("a.event-name", { href: link({ view: "records", record: entry.id }), tabindex: "-1", dir: "auto" }, text) : el("span.event-name", { dir: "auto" }, text);
}

function fieldsOf(record) {
  const nodes = [];
  let length = 0;
  for (const [key, value] of Object.entries(record)) {
    if (ENVELOPE.has(key)) continue;
    const text = shortened(plain(value), 80);
    nodes.push(" ", el("span.field-name", {}, shown(shortened(key, 40))), "=", ...shown(text));
    length += key.length + text.length;
    if (length > FIELDS) {
      nodes.push(" …");
      break;
    }
  }
  return nodes;
}

/** Show the fields of a row below it, or hide them. */
export function toggleExpanded(row) {
  const next = row.nextElementSibling;
  if (next?.classList.contains("expanded")) {
    next.remove();
    row.classList.remove("is-expanded");
    return false;
  }
  const { record, shortened: isShortened } = row.entry;
  const { fields, traces } = divided(record);
  const below = el(
    "tr.expanded", {},
    el("td", { colspan: COLUMNS.length },
      tree(fields),
      traces.map(([, text]) => longText(text, "pre.trace", 20000)),
      isShortened ? el("p.told", {}, "Long texts of this record are cut here. Enter shows all of it.") : null),
  );
  row.after(below);
  row.classList.add("is-expanded");
  return true;
}

/** Show another state in a row. */
export function setState(row, state) {
  if (row.entry.state === state) return;
  row.entry.state = state;
  row.lastElementChild.replaceChildren(stateLink(row.entry));
}
