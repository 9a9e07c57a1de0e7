// The table of records: newest first, older ones as a person scrolls, new ones at the top while it is live.

import { get, inWords, wasEnded } from "./api.js";
import { announce, el, fill } from "./dom.js";
import { counted, number, plain } from "./format.js";
import { filterBy, go, parameters } from "./route.js";
import { COLUMNS, rowOf, setState, toggleExpanded } from "./rows.js";

const PAGE = 100;
const MOST_SCROLLED = 5000;
const MOST_LIVE = 2000;
const MOST_STATES = 500;

/** The table with what stands above and below it. */
export class RecordList {
  constructor() {
    this.filter = null;
    this.next = null;
    this.request = null;
    this.loading = false;
    this.ids = new Set();
    this.selected = null;
    this.gaps = el("div.gaps", { role: "note" });
    this.body = el("tbody");
    this.table = el(
      "table.records", {},
      el("caption.for-readers", {}, "Records, newest first"),
      el("thead", {}, el("tr", {}, COLUMNS.map(([name, title]) => el(`th.${name}`, { scope: "col" }, title)))),
      this.body,
    );
    this.more = el("button.more", { type: "button", onclick: () => this.older() }, "Show older records");
    this.end = el("p.end");
    this.node = el("section.list", { "aria-label": "Records" }, this.gaps, this.table, el("div.below", {}, this.more, this.end));
    this.body.addEventListener("click", (event) => this.clicked(event));
    this.body.addEventListener("focusin", (event) => this.mark(event.target.closest("tr.record")));
    new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.older({ quietly: true }), { rootMargin: "600px" }).observe(this.more);
  }

  // -- loading

  /** Show the newest records of a filter in place of what is shown. */
  async load(filter) {
    this.request?.abort();
    this.filter = filter;
    this.next = null;
    this.loading = false;
    this.node.dataset.ready = "no";
    await this.page((answer) => {
      this.ids.clear();
      this.selected = null;
      this.trimmed = false;
      fill(this.body);
      fill(this.gaps);
      this.append(answer.records);
      if (!answer.records.length) fill(this.end, "No record matches. Take away a part of the filter, or choose a longer time.");
    });
    this.node.dataset.ready = "yes";
  }

  /** Show the next page of older records. */
  async older({ quietly = false } = {}) {
    if (this.loading || this.filter === null) return;
    if (this.trimmed || this.rows().length >= MOST_SCROLLED) {
      if (!quietly) this.goOnBelow();
      return;
    }
    if (this.next === null) return;
    await this.page((answer) => this.append(answer.records), this.next);
    if (this.next !== null && this.more.getBoundingClientRect().top < innerHeight + 600 && !this.more.hidden) await this.older({ quietly: true });
  }

  async page(take, cursor = "") {
    const request = (this.request = new AbortController());
    this.loading = true;
    this.more.textContent = "Loading…";
    this.more.hidden = false;
    try {
      const answer = await get("records", [...parameters(this.filter), ["limit", PAGE], ["cursor", cursor]], request.signal);
      fill(this.end);
      this.next = answer.next;
      take(answer);
      this.addGaps(answer.gaps ?? []);
    } catch (error) {
      if (wasEnded(error)) return;
      fill(this.end, el("span.bad", {}, inWords(error)));
      this.next = cursor || null;
      if (!cursor) fill(this.body);
    }
    this.loading = false;
    this.showEnd();
  }

  showEnd() {
    const many = this.rows().length;
    const full = this.trimmed || many >= MOST_SCROLLED;
    this.more.hidden = this.next === null && !full;
    this.more.textContent = full ? `${number(many)} records are shown. Show the older ones on a new page` : "Show older records";
    if (this.next === null && many && !full && !this.end.childNodes.length) fill(this.end, `This is the oldest record that matches: ${counted(many, "record")}.`);
  }

  /** Begin a new list with the oldest shown record: its address can be kept. */
  goOnBelow() {
    const last = this.rows().at(-1)?.entry.record.time;
    if (last) filterBy({ until: new Date(Date.parse(last) + 1).toISOString() });
  }

  append(records) {
    const rows = records.filter((entry) => this.isNew(entry)).map(rowOf);
    this.body.append(...rows);
    if (!this.selected && rows.length) this.rows()[0].tabIndex = 0;
  }

  /** Put new records at the top; returns how many were not there before. */
  prepend(records) {
    const rows = records.filter((entry) => this.isNew(entry)).map(rowOf);
    fill(this.end);
    this.body.prepend(...rows.reverse());
    for (const row of rows) row.classList.add("arrived");
    const all = this.rows();
    if (!this.selected && all.length) all.forEach((row, at) => (row.tabIndex = at === 0 ? 0 : -1));
    for (const row of all.slice(MOST_LIVE)) {
      this.trimmed = true;
      this.ids.delete(row.entry.id);
      if (row.nextElementSibling?.classList.contains("expanded")) row.nextElementSibling.remove();
      row.remove();
    }
    this.showEnd();
    return rows.length;
  }

  isNew(entry) {
    if (entry.id === null) return true;
    if (this.ids.has(entry.id)) return false;
    this.ids.add(entry.id);
    return true;
  }

  addGaps(gaps) {
    for (const gap of gaps) {
      const text = `${gap.subsystem ? `${gap.subsystem}, ` : ""}batch ${gap.index ?? "?"}: ${gap.reason ?? gap.kind}`;
      if ([...this.gaps.querySelectorAll("li")].some((item) => item.textContent === text)) continue;
      if (!this.gaps.firstChild) this.gaps.append(el("details", {}, el("summary"), el("ul")));
      this.gaps.querySelector("ul").append(el("li", {}, text));
    }
    const many = this.gaps.querySelectorAll("li").length;
    if (many) this.gaps.querySelector("summary").textContent = `${counted(many, "batch", "batches")} cannot be shown`;
  }

  // -- states

  /** Ask again how far the newest records have come; returns whether some may still go on soon. */
  async refreshStates() {
    const rows = this.rows().slice(0, MOST_STATES);
    const waiting = rows.filter((row) => row.entry.id && row.entry.state !== "published");
    if (!waiting.length || this.loading) return false;
    const answer = await get("records", [...parameters(this.filter), ["limit", Math.min(MOST_STATES, rows.length + 20)]]);
    const states = new Map(answer.records.map((entry) => [entry.id, entry.state]));
    for (const row of waiting) if (states.has(row.entry.id)) setState(row, states.get(row.entry.id));
    return waiting.some((row) => row.entry.state === "spool");
  }

  // -- keyboard and pointer

  rows() {
    return [...this.body.children].filter((row) => row.classList.contains("record"));
  }

  clicked(event) {
    const row = event.target.closest("tr.record");
    if (!row || event.target.closest("a, button") || String(getSelection())) return;
    this.mark(row);
    if (row.entry.id) go({ record: row.entry.id });
  }

  mark(row) {
    if (!row || row === this.selected) return;
    for (const other of this.body.querySelectorAll('tr[tabindex="0"]')) {
      other.tabIndex = -1;
      other.removeAttribute("aria-current");
    }
    row.tabIndex = 0;
    row.setAttribute("aria-current", "true");
    this.selected = row;
  }

  /** Move the selection by some rows. */
  move(by) {
    const rows = this.rows();
    if (!rows.length) return;
    const at = this.selected?.isConnected ? rows.indexOf(this.selected) : -1;
    const row = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    this.mark(row);
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
    if (rows.indexOf(row) > rows.length - 10) this.older({ quietly: true });
  }

  /** Show or hide the fields of the selected row. */
  expand() {
    if (!this.selected?.isConnected) this.move(0);
    if (this.selected) announce(toggleExpanded(this.selected) ? "Fields shown below the record." : "Fields hidden.");
  }

  /** Show all of the selected row beside the table. */
  open() {
    if (this.selected?.entry.id) go({ record: this.selected.entry.id });
  }

  /** Put the focus on the row of a record, if it is shown. */
  focusOn(id) {
    const row = this.rows().find((candidate) => candidate.entry.id === id);
    if (!row) return;
    this.mark(row);
    row.focus({ preventScroll: true });
  }

  /** Show which record is open beside the table. */
  showOpen(id) {
    for (const row of this.rows()) row.classList.toggle("is-open", row.entry.id === id && Boolean(id));
  }

  /** Write all times again, after a change of the time zone. */
  redraw() {
    for (const row of this.rows()) {
      const fresh = rowOf(row.entry);
      row.firstElementChild.replaceWith(fresh.firstElementChild);
    }
  }

  /** Return the text of the first row, for a person who listens. */
  newest() {
    const entry = this.rows()[0]?.entry;
    return entry ? plain(entry.record.event ?? "") : "";
  }
}
