// All of one record, beside the table: its fields, traceback, proof, and the records that belong to it.

import { get, inWords, wasEnded } from "./api.js";
import { copyButton, el, fill, shortened, shown } from "./dom.js";
import { dayAndTime, number, parsed, plain } from "./format.js";
import { Proof } from "./proof.js";
import { Related } from "./related.js";
import { current, filterBy, go, only, without } from "./route.js";
import { levelGroup } from "./stacked.js";
import { divided, longText, tree } from "./tree.js";

const JSON_SHOWN = 20000;

/** The panel. */
export class Detail {
  constructor() {
    this.request = null;
    this.id = "";
    this.proof = new Proof();
    this.related = new Related();
    this.close = el("button.close", { type: "button", "aria-label": "Close the record", title: "Close (Escape)", onclick: () => go({ record: "" }) }, "×");
    this.content = el("div.detail-content");
    this.node = el("aside.detail", { "aria-label": "One record", tabindex: "-1", hidden: true }, this.close, this.content);
  }

  /** Show a record, and of it first the part "proof" if that is asked for; "" closes the panel. Returns whether it shows another record. */
  show(id, part = "") {
    this.part = part;
    if (id === this.id) {
      this.goToPart();
      return false;
    }
    this.request?.abort();
    this.id = id;
    this.node.hidden = !id;
    fill(this.content);
    if (id) this.load(id);
    return true;
  }

  async load(id) {
    const { signal } = (this.request = new AbortController());
    this.node.dataset.ready = "no";
    fill(this.content, el("p.told", {}, "Loading…"));
    try {
      const answer = await get("record", [["id", id]], signal);
      this.draw(answer);
      this.node.focus({ preventScroll: true });
      this.node.scrollTop = 0;
      this.node.dataset.ready = "record";
      await Promise.all([this.proof.load(id, signal), this.related.load(answer, signal)]);
    } catch (error) {
      if (wasEnded(error)) return;
      fill(this.content, el("h2", {}, "Record"), el("p.bad", { role: "alert" }, inWords(error)));
    }
    if (signal.aborted) return;
    this.goToPart();
    this.node.dataset.ready = "yes";
  }

  goToPart() {
    if (this.part === "proof" && this.id) this.node.scrollTop = this.proof.node.offsetTop - 12;
  }

  draw(answer) {
    const record = recordOf(answer);
    const [day, time] = dayAndTime(record.time);
    const event = plain(record.event ?? "");
    const { fields, traces } = divided(record);
    const json = answer.json ?? JSON.stringify(answer.record);
    fill(
      this.content,
      el("header", {},
        el(`span.level-name.${levelGroup(record.level)}`, {}, shown(plain(record.level ?? "–"))), " ",
        el("time", { datetime: plain(record.time ?? ""), title: plain(record.time ?? "") }, day ? `${day} ${time}` : time),
        el("h2", { dir: "auto" }, event ? shown(shortened(event, 500)) : "A record without event"),
        el("p.told", {}, shown(`${plain(record.logger ?? "")} · subsystem ${plain(record.subsystem ?? "")} · process ${plain(record.pid ?? "?")} · its record ${plain(record.seq ?? "?")}`))),
      traces.map(([title, text]) => el("section", {}, el("h3", {}, title), longText(text, "pre.trace", JSON_SHOWN))),
      el("section", {}, el("h3", {}, "Fields"), tree(fields, actions)),
      this.proof.node,
      this.related.node,
      el("section", {}, el("details.stored", {},
        el("summary", {}, `Stored JSON, ${number(new Blob([json]).size)} bytes`),
        copyButton(json, "the stored JSON"), longText(json, "pre", JSON_SHOWN))),
    );
    for (const block of this.content.querySelectorAll("pre")) block.tabIndex = 0;
  }
}

/** Return the record with all digits of its numbers; the server adds `subsystem`, which is not stored. */
function recordOf(answer) {
  try {
    return { ...answer.record, ...parsed(answer.json) };
  } catch {
    return answer.record;
  }
}

function actions(path, value) {
  const { filter } = current();
  const chosen = only(filter, path, value);
  const removed = without(filter, path, value);
  const of = `${shortened(path, 40)} = ${shortened(plain(value), 40)}`;
  return [
    chosen && el("button.small", { type: "button", title: "Show only records with this value", "aria-label": `Only records with ${of}`, onclick: () => filterBy(chosen) }, "only"),
    removed && el("button.small", { type: "button", title: "Leave records with this value out", "aria-label": `Leave out records with ${of}`, onclick: () => filterBy(removed) }, "not"),
  ].filter(Boolean);
}
