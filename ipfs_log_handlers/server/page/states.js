// The proof state of a record: how far it has come on its way from the logging call to other people.

import { el } from "./dom.js";
import { link } from "./route.js";

/** The steps in their order, with what each says. */
export const STEPS = [
  ["spool", "in the spool", "The record is on the disk and survives a crash. It is in no signed batch yet."],
  ["sealed", "sealed", "The record is in a signed batch on the disk. A later change would be found."],
  ["shipped", "shipped", "As many stores as the settings ask for have confirmed that they keep the batch."],
  ["published", "published", "The name of the home leads other people to the batch."],
];

const PLACE = new Map(STEPS.map(([step], at) => [step, at]));

/** Return the words for a state. */
function stateWords(state) {
  return STEPS[PLACE.get(state)]?.[1] ?? String(state);
}

/** Return four small marks, of which as many are filled as steps are done, and the words. */
export function stateMark(state) {
  const done = PLACE.get(state) ?? -1;
  return el("span.state", { data: { state } }, el("span.marks", { "aria-hidden": "true" }, STEPS.map((_, at) => el(at <= done ? "i.done" : "i"))), el("span", {}, stateWords(state)));
}

/** Return the mark as a link to the record and its proof. */
export function stateLink(entry) {
  if (!entry.id) return stateMark(entry.state);
  return el("a.state-link", { href: link({ view: "records", record: entry.id, part: "proof" }), title: "Show the proof of this record", tabindex: "-1" }, stateMark(entry.state));
}
