// The live tail: an EventSource that goes on where it stood after every loss of the connection.

import { address } from "./api.js";
import { parameters } from "./route.js";

const WAITS_S = [0.3, 1, 2, 5, 10];

/** One live tail. Calls the functions of `to`: records(list), state(name, text), skipped(total), gap(gap). */
export class Tail {
  constructor(filter, to) {
    this.filter = { ...filter, until: "" };
    this.to = to;
    this.cursor = "";
    this.source = null;
    this.timer = 0;
    this.tries = 0;
    this.skipped = 0;
    this.isPaused = false;
    this.ready = new Promise((resolve) => (this.isReady = resolve));
  }

  /** Connect; `ready` is kept when the tail stands, or cannot stand now. */
  start() {
    this.to.state("connecting", "Connecting");
    const source = (this.source = new EventSource(address("tail", [...parameters(this.filter), ["cursor", this.cursor]])));
    const on = (name, take) => source.addEventListener(name, (event) => {
      if (source !== this.source) return;
      const data = JSON.parse(event.data);
      if (event.lastEventId) this.cursor = event.lastEventId;
      take(data);
    });
    on("ready", (data) => {
      this.cursor = data.cursor ?? this.cursor;
      this.tries = 0;
      this.to.state("live", "New records come at the top");
      this.isReady();
    });
    on("records", (data) => this.to.records(data.records));
    on("skipped", (data) => {
      this.skipped += data.count;
      this.to.skipped(this.skipped);
    });
    on("gap", (data) => this.to.gap(data));
    on("end", (data) => this.lost(data.reason));
    source.onerror = () => source === this.source && this.lost("The connection was lost.");
  }

  lost(reason) {
    this.source?.close();
    this.source = null;
    this.isReady();
    const wait = WAITS_S[Math.min(this.tries, WAITS_S.length - 1)];
    this.tries += 1;
    this.to.state("waiting", `${sentence(reason)} Trying again in ${wait} s`);
    this.timer = setTimeout(() => this.start(), wait * 1000);
  }

  /** Take no records until `resume`, which then gets all of the time between. */
  pause() {
    this.close();
    this.isPaused = true;
    this.to.state("paused", "Paused");
  }

  /** Go on where the tail was paused. */
  resume() {
    this.isPaused = false;
    this.start();
  }

  /** End the tail. */
  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.isReady();
  }
}

function sentence(text) {
  const trimmed = String(text ?? "").trim();
  if (!trimmed) return "The server closed the tail.";
  return `${trimmed[0].toUpperCase()}${trimmed.slice(1)}${/[.!?]$/.test(trimmed) ? "" : "."}`;
}
