// The view of the chain: each log with its head and stores, its batches over time, and a list of them.

import { get, inWords, wasEnded } from "./api.js";
import { announce, copyButton, el, fill, shown } from "./dom.js";
import { bytes, counted, moment, number } from "./format.js";
import { everything, link } from "./route.js";
import { stateMark } from "./states.js";
import { Stacked } from "./stacked.js";

const CHARTED = 1000;
const BARS = 100;
const KEYS = {
  given: "signed by a key that was given with --key",
  home: "signed by the key of this home",
  pinned: "signed by the key that this reader has kept",
  none: "signed by a key that nobody has confirmed",
};
const COLOURS = { sealed: "--state-sealed", shipped: "--state-shipped", imported: "--state-imported" };

/** The view. */
export class Chain {
  constructor() {
    this.logs = el("div.logs");
    this.chartTitle = el("p.told");
    this.place = el("div.chart", { role: "img", "aria-label": "Batches over time" });
    this.rows = el("tbody");
    this.unlisted = el("ul.problems", { "aria-label": "Batches that are not listed" });
    this.batchesTitle = el("h2", {}, "Batches");
    this.more = el("button.more", { type: "button", hidden: true, onclick: () => this.older() }, "Show older batches");
    this.all = el("a", { href: "#/chain", hidden: true }, "Show the batches of all logs");
    this.problem = el("p.bad", { role: "alert", hidden: true });
    this.chart = new Stacked(this.place, { height: 150, colours: COLOURS });
    this.node = el(
      "div.page.chain", {},
      el("h1", {}, "Chain"),
      el("p.lead", {}, "Each subsystem has a log: a chain of signed batches. A batch that was changed, left out or put in is found, because every head names all batches before it."),
      this.problem, el("h2", {}, "Logs"), this.logs,
      this.batchesTitle, this.chartTitle, this.place, this.unlisted, this.all,
      el("div.scroll", { tabindex: "0", role: "region", "aria-label": "List of batches" },
        el("table.data", {}, el("caption.for-readers", {}, "Batches, newest first"),
          el("thead", {}, el("tr", {}, ["Subsystem", "Number", "Sealed", "First record", "Last record", "Records", "Size", "State", "Manifest"].map((title) => el("th", { scope: "col" }, title)))),
          this.rows)),
      this.more,
    );
  }

  /** Show a state of the address. */
  async show(state) {
    this.request?.abort();
    const request = (this.request = new AbortController());
    this.log = state.log;
    this.node.dataset.ready = "no";
    this.problem.hidden = true;
    this.all.hidden = !state.log;
    try {
      await Promise.all([this.loadLogs(request.signal), this.loadBatches(request.signal)]);
    } catch (error) {
      if (wasEnded(error)) return;
      this.problem.textContent = inWords(error);
      this.problem.hidden = false;
    }
    this.node.dataset.ready = "yes";
  }

  hide() {
    this.request?.abort();
  }

  async loadLogs(signal) {
    if (!this.logs.childElementCount) fill(this.logs, el("p.told", {}, "Verifying the logs…"));
    const { logs } = await get("logs", [], signal);
    fill(this.logs, logs.length ? logs.map((log) => this.card(log)) : el("p.told", {}, "There is no log yet: no batch was sealed."));
  }

  card(log) {
    const problems = log.problems ?? [];
    const isGood = log.result === "ok" && log.seen?.consistent !== false;
    return el(
      "article.card", { data: { result: isGood ? "ok" : "bad" }, "aria-label": `Log of ${log.subsystem}` },
      el("h3", {}, shown(log.subsystem), " ", el(`span.badge.${isGood ? "good" : "bad"}`, {}, isGood ? "✓ verified" : shown(String(log.result ?? "not verified")))),
      el("p", {}, `${counted(log.batches, "batch", "batches")}, ${counted(log.records, "record")}`, log.first ? `, from ${moment(log.first)} to ${moment(log.last)}` : ""),
      el("dl.facts", {},
        el("dt", {}, "Log"), el("dd", {}, el("code.long", {}, log.log)),
        log.head ? [el("dt", {}, "Head"), el("dd", {}, el("code.long", {}, log.head), " ", copyButton(log.head, "the CID of the head"))] : null,
        el("dt", {}, "Stores"), el("dd", {}, this.stores(log)),
        el("dt", {}, "Seen before"), el("dd", {}, seen(log.seen)),
        log.trust ? [el("dt", {}, "Key"), el("dd", {}, KEYS[log.trust] ?? log.trust)] : null,
        log.ended ? [el("dt", {}, "Ended"), el("dd", {}, shown(inOneLine(log.ended)))] : null),
      log.problem ? el("p.bad", {}, shown(log.problem)) : null,
      problems.length ? el("ul.problems", {}, problems.map((problem) => el("li.bad", {}, shown(inOneLine(problem))))) : null,
      el("p.buttons", {},
        el("a", { href: link({ view: "chain", log: log.log }) }, "Only its batches"), " ",
        el("a", { href: link({ view: "records", record: "", live: false, filter: { ...everything(), subsystem: [log.subsystem] } }) }, "Its records")),
    );
  }

  stores(log) {
    if (!log.stores?.length) return "No store has confirmed a batch.";
    return el("ul.plain", {}, log.stores.map(({ store, confirmed }) => {
      const bar = el("progress", { max: Math.max(1, log.batches), value: confirmed, "aria-label": `Confirmed by ${store}` });
      return el("li", {}, el("code", {}, shown(store)), ` ${number(confirmed)} of ${number(log.batches)} `, bar);
    }));
  }

  async loadBatches(signal) {
    const { batches, more, problems } = await get("batches", [["log", this.log], ["limit", CHARTED]], signal);
    fill(this.unlisted, problems.map((problem) => el("li.bad", {}, shown(problem))));
    this.unlisted.hidden = !problems.length;
    this.batches = batches;
    this.isMore = more;
    this.draw(batches, more);
    fill(this.rows);
    this.listed = 0;
    this.list();
    announce(`${counted(batches.length, "batch", "batches")} listed.`);
  }

  draw(batches, more) {
    this.place.hidden = !batches.length;
    this.batchesTitle.textContent = this.log ? "Batches of this log" : "Batches of all logs";
    if (!batches.length) return fill(this.chartTitle, "No batch was sealed yet.");
    const charted = batches.filter((batch) => !Number.isNaN(timeOf(batch)));
    this.place.hidden = !charted.length;
    if (!charted.length) return fill(this.chartTitle, `${counted(batches.length, "batch", "batches")} of unknown time`);
    const times = charted.map(timeOf);
    const [from, to] = [Math.min(...times), Math.max(...times)];
    const width = Math.max(1, (to - from) / BARS);
    const bars = Array.from({ length: Math.floor((to - from) / width) + 1 }, (_, at) => from + at * width);
    const groups = {};
    charted.forEach((batch, at) => {
      const counts = (groups[batch.state] ??= bars.map(() => 0));
      counts[Math.min(bars.length - 1, Math.floor((times[at] - from) / width))] += 1;
    });
    this.chart.show({ from, to: from + bars.length * width, width, times: bars, groups });
    const text = `${more ? "The newest " : ""}${counted(batches.length, "batch", "batches")}, ${charted.every((batch) => batch.sealed) ? "sealed " : ""}from ${moment(iso(from))} to ${moment(iso(to))}`;
    this.place.setAttribute("aria-label", `Batches over time. ${text}.`);
    return fill(this.chartTitle, `${text}: `, Object.entries(groups).map(([state, counts]) => el("span.key", {}, el(`span.swatch.state-${state}`), `${state} ${number(counts.reduce((sum, count) => sum + count, 0))}`)));
  }

  list() {
    const next = this.batches.slice(this.listed, this.listed + 100);
    this.listed += next.length;
    this.rows.append(...next.map((batch) => this.row(batch)));
    this.more.hidden = this.listed >= this.batches.length && !(this.isMore && this.log);
    if (this.isMore && !this.log && this.listed >= this.batches.length) fill(this.chartTitle, this.chartTitle.textContent, " Choose one log to see older batches.");
  }

  async older() {
    if (this.listed >= this.batches.length) {
      try {
        const { batches, more } = await get("batches", [["log", this.log], ["limit", CHARTED], ["before", this.batches.at(-1).index]], this.request.signal);
        this.batches.push(...batches);
        this.isMore = more;
      } catch (error) {
        if (wasEnded(error)) return;
        this.problem.textContent = inWords(error);
        this.problem.hidden = false;
      }
    }
    this.list();
  }

  row(batch) {
    const cells = [shown(batch.subsystem), number(batch.index), moment(batch.sealed), moment(batch.first), moment(batch.last), batch.encoding === "unixfs" ? "archive" : number(batch.records), bytes(batch.size)];
    return el(
      "tr", { data: { batch: batch.cid ?? "" } }, cells.map((content) => el("td", {}, content)),
      el("td", {}, batch.state === "imported" ? "imported" : stateMark(batch.state)),
      el("td", {}, manifest(batch.cid)),
    );
  }
}

/** Return when a batch was sealed, in seconds since 1970; outside a home only the time of its last record is known. */
const timeOf = (batch) => Date.parse(batch.sealed ?? batch.last) / 1000;

/** Return the CID of a manifest with a button that copies it; outside a home it is not known. */
function manifest(cid) {
  if (!cid) return "–";
  return [el("code.cid", { title: cid }, `${cid.slice(0, 8)}…${cid.slice(-6)}`), " ", copyButton(cid, "the CID of the manifest")];
}

const iso = (seconds) => new Date(seconds * 1000).toISOString();

function seen(head) {
  if (!head) return "This reader sees the log for the first time.";
  const size = `the head that this reader saw before, of ${counted(head.size, "batch", "batches")}`;
  return head.consistent ? `The log continues ${size}.` : el("strong.bad", {}, `The log does not continue ${size}: it was set back or replaced.`);
}

function inOneLine(problem) {
  if (typeof problem === "string") return problem;
  return Object.entries(problem).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
}
