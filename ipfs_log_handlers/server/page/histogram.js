// The histogram: how many records of each level the range has. Dragging over it, or a key, zooms.

import { get, inWords, wasEnded } from "./api.js";
import { announce, el, fill } from "./dom.js";
import { counted, moment, number } from "./format.js";
import { filterBy, parameters } from "./route.js";
import { LEVELS, levelGroup, Stacked } from "./stacked.js";

const BUCKETS = 120;
const COLOURS = Object.fromEntries(["other", ...LEVELS].map((name) => [name, `--level-${name}`]));

/** The histogram with its buttons and its legend. */
export class Histogram {
  constructor() {
    this.range = null;
    this.buckets = [];
    this.request = null;
    this.legend = el("div.legend", { "aria-hidden": "true" });
    this.place = el("div.chart", { tabindex: "0", role: "img", "aria-label": "Records over time" });
    this.told = el("p.told");
    this.node = el(
      "section.histogram", { "aria-label": "Records over time" },
      el("div.line", {}, this.told, this.legend, el("div.buttons", {},
        this.button("Earlier", "Show the time before", () => this.move(-1)),
        this.button("Later", "Show the time after", () => this.move(1)),
        this.button("Zoom in", "Show the middle half of the range", () => this.scale(0.5)),
        this.button("Zoom out", "Show twice the range", () => this.scale(2)),
      )),
      this.place,
    );
    this.chart = new Stacked(this.place, {
      height: 132, colours: COLOURS,
      onZoom: (from, to) => this.zoom(from, to),
      onPoint: (at) => this.point(at),
    });
    this.place.addEventListener("keydown", (event) => this.pressed(event));
  }

  button(name, title, listener) {
    return el("button.small", { type: "button", title, onclick: listener }, name);
  }

  /** Show the histogram of a filter. */
  async load(filter) {
    this.request?.abort();
    const request = (this.request = new AbortController());
    this.node.dataset.ready = "no";
    this.node.setAttribute("aria-busy", "true");
    try {
      this.take(await get("histogram", [...parameters(filter), ["buckets", BUCKETS]], request.signal));
    } catch (error) {
      if (wasEnded(error)) return;
      fill(this.told, el("span.bad", {}, inWords(error)));
    }
    this.node.dataset.ready = "yes";
    this.node.removeAttribute("aria-busy");
  }

  take(answer) {
    this.answer = answer;
    if (!answer.since || !answer.buckets.length) {
      this.range = null;
      fill(this.told, "No records in this range.");
      fill(this.legend);
      this.place.hidden = true;
      return;
    }
    this.place.hidden = false;
    const width = answer.span;
    const from = Math.floor(seconds(answer.since) / width) * width;
    const to = Math.max(seconds(answer.until), from + width);
    const times = [];
    for (let time = from; time < to && times.length < 2000; time += width) times.push(time);
    this.range = { from, to: Math.max(to, times.at(-1) + width), width };
    const byTime = new Map(answer.buckets.map((bucket) => [Math.round((seconds(bucket.time) - from) / width), bucket]));
    this.buckets = times.map((time, at) => ({ time, ...groupsOf(byTime.get(at)) }));
    const groups = {};
    const sums = {};
    for (const name of Object.keys(COLOURS)) {
      const counts = this.buckets.map((bucket) => bucket.groups[name] ?? 0);
      sums[name] = counts.reduce((sum, count) => sum + count, 0);
      if (sums[name]) groups[name] = counts;
    }
    this.chart.show({ ...this.range, times, groups });
    this.sums = sums;
    this.point(null);
    const partly = answer.complete ? "" : " The count was ended by its time limit: the oldest records are not in it.";
    this.place.setAttribute("aria-label", `${this.summary()}${partly}. Left and right arrow move the range, plus and minus zoom.`);
    announce(`${counted(answer.total, "record")} in the range.`);
  }

  summary() {
    const levels = Object.entries(this.sums).filter(([, sum]) => sum).map(([name, sum]) => `${name} ${number(sum)}`);
    return `${counted(this.answer.total, "record")} from ${moment(this.answer.since)} to ${moment(this.answer.until)}: ${levels.join(", ")}`;
  }

  /** Say in the line above the chart what the bar under the pointer has; else, what the range has. */
  point(at) {
    const bucket = at === null ? null : this.buckets[at];
    const sums = bucket ? bucket.groups : this.sums;
    const total = bucket ? bucket.count : this.answer.total;
    const from = bucket ? new Date(bucket.time * 1000).toISOString() : this.answer.since;
    const to = bucket ? new Date((bucket.time + this.range.width) * 1000).toISOString() : this.answer.until;
    fill(this.told, el("strong", {}, counted(total, "record")), this.answer.complete ? null : " or more", ` from ${moment(from)} to ${moment(to)}`);
    const shown = [...LEVELS, "other"].filter((name) => this.sums[name]);
    fill(this.legend, shown.map((name) => el("span.key", {}, el(`span.swatch.${name}`), `${name} ${number(sums[name] ?? 0)}`)));
  }

  pressed(event) {
    const act = { ArrowLeft: () => this.move(-1), ArrowRight: () => this.move(1), "+": () => this.scale(0.5), "-": () => this.scale(2) }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  move(direction) {
    if (!this.range) return;
    const half = ((this.range.to - this.range.from) / 2) * direction;
    this.zoom(this.range.from + half, this.range.to + half);
  }

  scale(factor) {
    if (!this.range) return;
    const middle = (this.range.from + this.range.to) / 2;
    const half = ((this.range.to - this.range.from) / 2) * factor;
    this.zoom(middle - half, middle + half);
  }

  zoom(from, to) {
    filterBy({ since: rfc3339(from), until: rfc3339(Math.max(to, from + 0.001)) });
  }
}

const seconds = (text) => Date.parse(text) / 1000;
const rfc3339 = (time) => new Date(Math.max(0, Math.round(time * 1000))).toISOString();

function groupsOf(bucket) {
  const groups = {};
  for (const [level, count] of Object.entries(bucket?.counts ?? {})) {
    const name = levelGroup(level);
    groups[name] = (groups[name] ?? 0) + count;
  }
  return { count: bucket?.count ?? 0, groups };
}
