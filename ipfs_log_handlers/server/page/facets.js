// The facets at the left: the most frequent values of some fields. A value can be chosen, or left out.

import { get, inWords, wasEnded } from "./api.js";
import { el, fill, shortened, shown } from "./dom.js";
import { number, plain } from "./format.js";
import { filterBy, only, parameters, without } from "./route.js";
import { levelGroup } from "./stacked.js";

const FIELDS = [["level", "Level"], ["logger", "Logger"], ["subsystem", "Subsystem"], ["origin", "Origin"], ["event", "Event"]];
const VALUES = 12;

/** The lists of values. */
export class Facets {
  constructor() {
    this.request = null;
    this.lists = el("div.facet-lists");
    this.told = el("p.told", { role: "note" });
    this.node = el("aside.facets", { "aria-label": "Most frequent values" }, el("h2.for-readers", {}, "Most frequent values"), this.told, this.lists);
  }

  /** Count the values in the records of a filter. */
  async load(filter) {
    this.request?.abort();
    const request = (this.request = new AbortController());
    this.node.dataset.ready = "no";
    this.node.setAttribute("aria-busy", "true");
    try {
      const fields = FIELDS.map(([field]) => ["field", field]);
      const answer = await get("facets", [...parameters(filter), ...fields, ["n", VALUES]], request.signal);
      this.take(answer, filter);
    } catch (error) {
      if (wasEnded(error)) return;
      fill(this.told, el("span.bad", {}, inWords(error)));
    }
    this.node.dataset.ready = "yes";
    this.node.removeAttribute("aria-busy");
  }

  take(answer, filter) {
    const partial = answer.facets.find((facet) => !facet.complete);
    fill(this.told, partial ? `Some counts are of the newest ${number(partial.counted)} records only.` : null);
    const lists = answer.facets.filter((facet) => facet.values.length && !(facet.field === "origin" && facet.values.every(({ value }) => value === null)));
    fill(this.lists, lists.map((facet) => this.list(facet, filter)));
  }

  list(facet, filter) {
    const title = FIELDS.find(([field]) => field === facet.field)?.[1] ?? facet.field;
    const most = Math.max(...facet.values.map(({ count }) => count), 1);
    return el(
      "section.facet", { data: { field: facet.field } },
      el("h3", {}, title),
      el("ul", {}, facet.values.map((entry) => this.entry(facet, entry, most, filter))),
      facet.more ? el("p.more", {}, `The ${facet.values.length} most frequent values are listed.`) : null,
    );
  }

  entry(facet, { value, count }, most, filter) {
    const text = plain(value ?? "none");
    const bar = el("span.share", { "aria-hidden": "true" });
    bar.style.inlineSize = `${Math.max(2, Math.round((100 * count) / most))}%`;
    const chosen = only(filter, facet.field, value);
    const removed = without(filter, facet.field, value);
    const label = el("span.value", { title: shortened(text, 300) }, shown(shortened(text, 80)));
    if (facet.field === "level") label.prepend(el(`span.swatch.${levelGroup(value)}`, { "aria-hidden": "true" }));
    const content = [bar, label, el("span.count", {}, number(count))];
    return el(
      "li", {},
      chosen
        ? el("button.pick", { type: "button", "aria-label": `Only ${facet.field} ${shortened(text, 80)}, ${number(count)} records`, onclick: () => filterBy(chosen) }, content)
        : el("span.pick.fixed", {}, content),
      removed && el("button.leave-out", { type: "button", title: "Leave these records out", "aria-label": `Leave out ${facet.field} ${shortened(text, 80)}`, onclick: () => filterBy(removed) }, "−"),
    );
  }
}
