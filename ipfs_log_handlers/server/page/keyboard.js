// The keys of the page, and the help that lists them.

import { byId, el, fill } from "./dom.js";
import { choose, chosen } from "./preferences.js";
import { go } from "./route.js";
import { STEPS, stateMark } from "./states.js";

const KEYS = [
  ["/", "go to the search box"],
  ["j or ↓, k or ↑", "go to the next record, the record before"],
  ["e", "show or hide the fields below the record"],
  ["Enter", "show all of the record, with its proof"],
  ["Escape", "close the record or this help; leave the search box"],
  ["l", "start or stop the live tail"],
  ["p", "pause the live tail, or go on"],
  ["1, 2, 3, 4", "show records, chain, health, SQL"],
  ["?", "show this help"],
];

/** Listen to the keys. `views` says which views there are; `explorer` is that of records, `view` returns the one that is shown. */
export function listen({ explorer, views, view }) {
  const help = byId("help");
  const box = byId("keys-on");
  fill(byId("help-keys"), KEYS.map(([keys, meaning]) => el("tr", {}, el("th", { scope: "row" }, keys.split(/( or |, )/).map((part) => (/^( or |, )$/.test(part) ? part : el("kbd", {}, part)))), el("td", {}, meaning))));
  fill(byId("help-states"), STEPS.map(([step, , meaning]) => [el("dt", {}, stateMark(step)), el("dd", {}, meaning)]));
  byId("help-open").addEventListener("click", () => help.showModal());
  box.checked = chosen("keys", "on") === "on";
  box.addEventListener("change", () => choose("keys", box.checked ? "on" : "off"));

  const common = {
    "?": () => help.showModal(),
    ...Object.fromEntries(views.map((name, at) => [String(at + 1), () => go({ view: name, record: "" })])),
  };
  const ofRecords = {
    "/": () => explorer.filters.search.focus(),
    j: () => explorer.list.move(1),
    ArrowDown: () => explorer.list.move(1),
    k: () => explorer.list.move(-1),
    ArrowUp: () => explorer.list.move(-1),
    e: () => explorer.list.expand(),
    l: () => explorer.about.live && explorer.toggleLive(),
    p: () => explorer.tail && explorer.togglePause(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || help.open) return;
    const onRecords = view() === "records";
    if (event.key === "Escape") return onRecords ? escape(explorer, event) : undefined;
    const at = event.target;
    if (at.matches("input, textarea, select") || !box.checked) return;
    const onRow = at.matches("tr.record");
    if (event.key === "Enter") return onRecords && onRow ? act(() => explorer.list.open(), event) : undefined;
    if (event.key.startsWith("Arrow") && !onRow) return;
    const does = common[event.key] ?? (onRecords ? ofRecords[event.key] : undefined);
    if (does) act(does, event);
  });
}

function escape(explorer, event) {
  if (event.target.matches("input")) return event.target.blur();
  if (explorer.downloads.open) {
    explorer.downloads.open = false;
    return explorer.downloads.firstChild.focus();
  }
  if (explorer.detail.id) go({ record: "" });
}

function act(does, event) {
  event.preventDefault();
  does();
}
