// Other records: those of the same process before and after a record, and those with the same request or trace.

import { get, inWords, wasEnded } from "./api.js";
import { el, fill, shortened, shown } from "./dom.js";
import { counted, dayAndTime, plain } from "./format.js";
import { condition, everything, link } from "./route.js";
import { levelGroup } from "./stacked.js";

const NEIGHBOURS = 8;

/** The section of a record about other records. */
export class Related {
  constructor() {
    this.node = el("div.related");
  }

  /** Show the lists that a record can have. */
  async load(record, signal) {
    const lists = (record.related ?? []).map(({ by, value }) => this.list(record, by, value, signal));
    fill(this.node, lists.map(({ node }) => node));
    await Promise.all(lists.map(({ fillIn }) => fillIn()));
  }

  list(record, by, value, signal) {
    const isProcess = by === "process";
    const text = shortened(plain(value ?? ""), 80);
    const content = el("ol.others");
    const where = isProcess ? "" : condition(by, "=", value);
    const node = el(
      "section", { data: { by, ready: "no" }, "aria-label": isProcess ? "Records of the same process" : `Records with the same ${by}` },
      el("h3", {}, isProcess ? "Before and after, in the same process" : ["Same ", el("code", {}, shown(by)), " ", el("span.kind", {}, shown(text))]),
      content,
      where ? el("p", {}, el("a", { href: link({ view: "records", record: "", live: false, filter: { ...everything(), where: [where] } }) }, "Show all of them in the table")) : null,
    );
    const fillIn = async () => {
      try {
        const answer = await get("related", [["id", record.id], ["by", by], ["limit", isProcess ? NEIGHBOURS : 100]], signal);
        fill(content, answer.records.map((entry) => this.item(entry, record.id)));
        if (answer.more) content.append(el("li.told", {}, `Only ${counted(answer.records.length, "record")} are listed.`));
      } catch (error) {
        if (wasEnded(error)) return;
        fill(content, el("li.bad", {}, inWords(error)));
      }
      node.dataset.ready = "yes";
    };
    return { node, fillIn };
  }

  item(entry, id) {
    const { record } = entry;
    const [day, time] = dayAndTime(record.time);
    const event = shortened(plain(record.event ?? ""), 120);
    const content = [
      el("time", { title: day }, time), " ", el(`span.swatch.${levelGroup(record.level)}`, { title: plain(record.level ?? "") }), " ",
      el("bdi", {}, event ? shown(event) : "no event"), " ", el("span.subsystem", {}, shown(shortened(plain(record.subsystem ?? ""), 40))),
    ];
    if (entry.id === id) return el("li", { "aria-current": "true" }, content, " ", el("em", {}, "this record"));
    return el("li", {}, entry.id ? el("a", { href: link({ view: "records", record: entry.id }) }, content) : content);
  }
}
