// The search box, the range, the level, and the chips that show the whole filter.

import { el, fill, shortened, shown } from "./dom.js";
import { isUtc, moment } from "./format.js";
import { everything, filterBy } from "./route.js";

const RANGES = [["", "Any time"], ["15m", "Last 15 minutes"], ["1h", "Last hour"], ["6h", "Last 6 hours"], ["24h", "Last 24 hours"], ["7d", "Last 7 days"], ["30d", "Last 30 days"]];
const LEVELS = [["", "Any level"], ["info", "Info and above"], ["warning", "Warning and above"], ["error", "Error and above"], ["critical", "Critical"]];
const NAMES = { contains: "text", where: "where", logger: "logger", subsystem: "subsystem", event: "event" };
const CONDITION = /^[^\s=<>!~"]+(!=|>=|<=|=|>|<)\S.*$/s;

/** The controls above the records. */
export class Filters {
  constructor() {
    this.search = el("input", {
      id: "search", type: "search", name: "search", autocomplete: "off", spellcheck: "false", "aria-keyshortcuts": "/",
      placeholder: "Text, or a condition: status>=500", "aria-describedby": "search-help",
    });
    this.range = this.select("range", "Time", RANGES, (value) => this.chooseRange(value));
    this.level = this.select("level", "Level", LEVELS, (value) => filterBy({ level: value }));
    this.from = el("input", { id: "from", type: "text", autocomplete: "off", placeholder: "2026-03-02 14:00 or 2h" });
    this.until = el("input", { id: "until", type: "text", autocomplete: "off", placeholder: "now" });
    this.own = el(
      "form.own-range", { hidden: true, onsubmit: (event) => this.takeRange(event) },
      el("label", { for: "from" }, "From"), this.from,
      el("label", { for: "until" }, "until"), this.until,
      el("button.small", { type: "submit" }, "Show"),
    );
    this.chips = el("ul.chips", { "aria-label": "The filter" });
    this.form = el(
      "form.search", { role: "search", onsubmit: (event) => this.take(event) },
      el("label.for-readers", { for: "search" }, "Search"), this.search,
      el("span.for-readers", { id: "search-help" }, "A text that event, message or exception has, or a condition on a field such as status>=500. Enter adds it to the filter."),
      el("button.primary", { type: "submit" }, "Search"),
    );
  }

  select(id, label, options, listener) {
    const node = el("select", { id }, optionsOf(options));
    node.addEventListener("change", () => listener(node.value));
    return { node, label: el("label.for-readers", { for: id }, label) };
  }

  take(event) {
    event.preventDefault();
    const text = this.search.value.trim();
    if (!text) return;
    const filter = this.filter;
    this.search.value = "";
    const name = CONDITION.test(text) ? "where" : "contains";
    const value = name === "contains" && /^".+"$/s.test(text) ? text.slice(1, -1) : text;
    if (!filter[name].includes(value)) filterBy({ [name]: [...filter[name], value] });
  }

  chooseRange(value) {
    this.own.hidden = value !== "own";
    if (value === "own") this.from.focus();
    else filterBy({ since: value, until: "" });
  }

  takeRange(event) {
    event.preventDefault();
    filterBy({ since: asMoment(this.from.value), until: asMoment(this.until.value) });
  }

  /** Show a filter. */
  show(filter) {
    this.filter = filter;
    const usual = !filter.until && RANGES.some(([value]) => value === filter.since);
    fill(this.range.node, optionsOf([...RANGES, ["own", "From … until …"]]));
    this.range.node.value = usual ? filter.since : "own";
    this.own.hidden = usual;
    this.from.value = isMoment(filter.since) ? moment(filter.since) : filter.since;
    this.until.value = isMoment(filter.until) ? moment(filter.until) : filter.until;
    const isListed = LEVELS.some(([value]) => value === filter.level);
    fill(this.level.node, optionsOf(isListed ? LEVELS : [...LEVELS, [filter.level, `${filter.level} and above`]]));
    this.level.node.value = filter.level;
    fill(this.chips, chipsOf(filter));
    this.chips.hidden = !this.chips.childElementCount;
  }
}

const optionsOf = (choices) => choices.map(([value, text]) => el("option", { value }, text));

/** Return a list item for each part of a filter; its button takes this part away. */
export function chipsOf(filter) {
  const chips = [];
  const range = [filter.since && `from ${isMoment(filter.since) ? moment(filter.since) : `the last ${filter.since}`}`, filter.until && `until ${isMoment(filter.until) ? moment(filter.until) : filter.until}`].filter(Boolean);
  if (range.length) chips.push(chip("time", range.join(" "), { since: "", until: "" }));
  if (filter.level) chips.push(chip("level", `${filter.level} and above`, { level: "" }));
  for (const [list, name] of Object.entries(NAMES)) {
    for (const value of filter[list]) chips.push(chip(name, value, { [list]: filter[list].filter((other) => other !== value) }));
  }
  if (chips.length > 1) chips.push(el("li", {}, el("button.small", { type: "button", onclick: () => filterBy(everything()) }, "Remove all")));
  return chips;
}

function chip(name, text, change) {
  const value = shortened(text, 80);
  return el(
    "li.chip", {}, el("span.chip-name", {}, name), " ", el("bdi", { title: shortened(text, 500) }, shown(value)),
    el("button", { type: "button", "aria-label": `Remove ${name} ${value} from the filter`, title: "Remove", onclick: () => filterBy(change) }, "×"),
  );
}

const isMoment = (text) => /^\d{4}-\d\d-\d\dT/.test(text);

/** Read what a person wrote as a time: a time of the shown time zone becomes one in UTC, other words go to the server. */
function asMoment(text) {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed === "now") return "";
  const found = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)$/.exec(trimmed);
  if (!found) return trimmed;
  const date = new Date(`${found[1]}T${found[2]}${isUtc() ? "Z" : ""}`);
  return Number.isNaN(date.getTime()) ? trimmed : date.toISOString();
}
