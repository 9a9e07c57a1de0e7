// The view of records: filter, facets, histogram, table, one record, and the live tail, held together.

import { address, inWords, wasEnded } from "./api.js";
import { announce, el, fill } from "./dom.js";
import { counted } from "./format.js";
import { Detail } from "./detail.js";
import { Facets } from "./facets.js";
import { Filters } from "./filters.js";
import { Histogram } from "./histogram.js";
import { RecordList } from "./records.js";
import { current, go, parameters } from "./route.js";
import { Tail } from "./tail.js";

const COUNT_AGAIN_MS = 5000;
const SLEEP_MS = 30000;
const STATES_SOON_MS = 3000;
const STATES_LATER_MS = 30000;

/** The view of records. */
export class Explorer {
  constructor(about) {
    this.about = about;
    this.tail = null;
    this.shown = "";
    this.timer = 0;
    this.filters = new Filters();
    this.facets = new Facets();
    this.histogram = new Histogram();
    this.list = new RecordList();
    this.detail = new Detail();
    this.downloads = el("details.menu", {}, el("summary", { role: "button" }, "Download"), el("div.menu-content"));
    this.live = el("button.live", { type: "button", "aria-pressed": "false", "aria-keyshortcuts": "l", title: "Show new records as they are logged", onclick: () => this.toggleLive() }, "Live");
    this.pause = el("button", { type: "button", hidden: true, onclick: () => this.togglePause() }, "Pause");
    this.told = el("span.tail-state", { role: "status", data: { state: "off" } });
    this.reload = el("button", { type: "button", title: "Ask the server again", onclick: () => this.load() }, "Reload");
    const controls = el(
      "div.controls", {},
      this.filters.form,
      this.filters.range.label, this.filters.range.node, this.filters.level.label, this.filters.level.node,
      this.reload, about.live ? [this.live, this.pause] : null, this.downloads, this.told, this.filters.own, this.filters.chips,
    );
    this.node = el(
      "div.explorer", {},
      el("h1.for-readers", {}, "Records"),
      controls,
      this.facets.node,
      el("div.centre", {}, this.histogram.node, this.list.node),
      this.detail.node,
    );
    new ResizeObserver(() => document.documentElement.style.setProperty("--controls", `${controls.offsetHeight}px`)).observe(controls);
    document.addEventListener("visibilitychange", () => this.sleepOrWake());
    setInterval(() => this.countAgain(), COUNT_AGAIN_MS);
    this.keepStates();
  }

  /** Show a state of the address. */
  show(state) {
    const asked = JSON.stringify([state.filter, state.live]);
    this.filters.show(state.filter);
    if (asked !== this.shown) {
      this.shown = asked;
      this.filter = state.filter;
      this.setLive(state.live && this.about.live);
      this.showDownloads();
      this.load();
    }
    const before = this.detail.id;
    if (this.detail.show(state.record, state.part) && !state.record && before) this.list.focusOn(before);
    this.list.showOpen(state.record);
    this.node.classList.toggle("has-detail", Boolean(state.record));
  }

  /** Stop what goes on, because another view is shown. */
  hide() {
    this.setLive(false);
    this.shown = "";
  }

  async load() {
    const filter = this.filter;
    this.node.dataset.ready = "no";
    if (this.tail) await this.tail.ready; // a record that is logged from here on comes by the tail, or is in the list
    if (filter !== this.filter) return;
    await this.list.load(filter); // first, and alone: counting a large log keeps the server busy
    if (filter !== this.filter) return;
    await Promise.all([this.histogram.load(filter), this.facets.load(filter)]);
    this.list.showOpen(current().record);
    if (filter === this.filter) this.node.dataset.ready = "yes";
  }

  showDownloads() {
    const file = (format, name) => el("a", { href: address("download", [["format", format], ...parameters(this.filter)]), download: true }, name);
    fill(this.downloads.lastChild, file("jsonl", "JSON Lines (.jsonl)"), file("csv", "Table (.csv)"), el("p.told", {}, `The records of this filter, oldest first; at most ${counted(this.about.limits.download, "record")}.`));
  }

  // -- live

  toggleLive() {
    const state = current();
    go({ live: !state.live, filter: { ...state.filter, until: "" } });
  }

  togglePause() {
    this.isAsleep = false;
    if (this.tail?.isPaused) this.tail.resume();
    else this.tail?.pause();
  }

  /** Close the connection of a tab that nobody sees: browsers have few for one server. It misses nothing. */
  sleepOrWake() {
    clearTimeout(this.sleep);
    if (document.hidden) {
      this.sleep = setTimeout(() => {
        if (!this.tail || this.tail.isPaused) return;
        this.tail.pause();
        this.isAsleep = true;
      }, SLEEP_MS);
    } else if (this.isAsleep) {
      this.isAsleep = false;
      this.tail?.resume();
    }
  }

  setLive(on) {
    this.isAsleep = false;
    this.tail?.close();
    this.tail = null;
    this.live.setAttribute("aria-pressed", String(on));
    this.pause.hidden = !on;
    this.showTail("off", "");
    this.skipped = 0;
    this.gone = false;
    if (!on) return;
    this.tail = new Tail(this.filter, {
      records: (records) => this.arrived(records),
      state: (name, text) => this.showTail(name, text),
      skipped: (total) => {
        this.skipped = total;
        this.showTail(this.told.dataset.state, this.text);
      },
      gap: (gap) => this.list.addGaps([gap]),
    });
    this.tail.start();
  }

  arrived(records) {
    const many = this.list.prepend(records);
    if (!many) return;
    this.gone = true;
    this.keepStates(true);
    announce(`${counted(many, "new record")}. ${this.list.newest()}`);
  }

  showTail(name, text) {
    this.text = text;
    this.told.dataset.state = name;
    this.pause.textContent = name === "paused" ? "Go on" : "Pause";
    fill(this.told, text, this.skipped ? el("span.skipped", {}, ` ${counted(this.skipped, "record")} skipped: this page was too slow. Reload shows them.`) : null);
  }

  countAgain() {
    if (!this.gone || document.hidden) return;
    this.gone = false;
    this.histogram.load(this.filter);
    this.facets.load(this.filter);
  }

  /** Ask after some time how far the shown records have come; sooner, while some are only in the spool. */
  keepStates(soon = false) {
    if (this.timer && (!soon || this.isSoon)) return;
    clearTimeout(this.timer);
    this.isSoon = soon;
    this.timer = setTimeout(async () => {
      let again = false;
      if (this.node.isConnected && !document.hidden) {
        try {
          again = await this.list.refreshStates();
        } catch (error) {
          if (!wasEnded(error)) this.told.title = inWords(error);
        }
      }
      this.timer = 0;
      this.keepStates(again);
    }, soon ? STATES_SOON_MS : STATES_LATER_MS);
  }
}
