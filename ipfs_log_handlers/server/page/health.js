// The view of a home's health: how many records have come how far, the keeper, and what `ipfs-logs doctor` finds.

import { get, inWords, wasEnded } from "./api.js";
import { announce, el, fill, shown } from "./dom.js";
import { bytes, counted, duration, moment, number } from "./format.js";
import { STEPS } from "./states.js";

const WORDS = { ok: ["✓", "in order"], warn: ["!", "look at it"], fail: ["✕", "wrong"] };

/** The view. */
export class Health {
  constructor() {
    this.summary = el("p.verdict");
    this.subsystems = el("div.logs");
    this.keeper = el("p");
    this.checks = el("ul.checks");
    this.again = el("button", { type: "button", onclick: () => this.show() }, "Check again");
    this.node = el(
      "div.page.health", {},
      el("h1", {}, "Health"), this.summary, this.again,
      el("h2", {}, "Subsystems"), this.subsystems,
      el("h2", {}, "Keeper"), this.keeper,
      el("h2", {}, "Checks"), this.checks,
    );
  }

  /** Ask for the health, and show it. */
  async show() {
    this.request?.abort();
    const request = (this.request = new AbortController());
    this.node.dataset.ready = "no";
    fill(this.summary, "Checking the home and its stores…");
    this.summary.className = "verdict";
    try {
      this.draw(await get("health", [], request.signal));
    } catch (error) {
      if (wasEnded(error)) return;
      this.summary.className = "verdict bad";
      fill(this.summary, inWords(error));
    }
    this.node.dataset.ready = "yes";
  }

  hide() {
    this.request?.abort();
  }

  draw({ subsystems, keeper, checks }) {
    const bad = checks.filter(({ state }) => state === "fail").length;
    const warnings = checks.filter(({ state }) => state === "warn").length;
    const text = bad ? `${counted(bad, "check finds", "checks find")} that something is wrong.` : warnings ? `${counted(warnings, "check needs", "checks need")} a look; the others are in order.` : "All checks are in order.";
    this.summary.className = `verdict ${bad ? "bad" : warnings ? "warn" : "good"}`;
    fill(this.summary, el("strong", {}, text), ` Checked at ${moment(new Date().toISOString())}.`);
    fill(this.subsystems, subsystems.length ? subsystems.map(card) : el("p.told", {}, "Nothing was logged yet."));
    fill(this.keeper, keeper ? `Process ${keeper.pid} on ${keeper.host} seals and ships for this home.` : "No process is the keeper now: records are durable, and wait in the spool until one is.");
    const order = ["fail", "warn", "ok"];
    fill(this.checks, [...checks].sort((one, other) => order.indexOf(one.state) - order.indexOf(other.state)).map(check));
    announce(text);
  }
}

function card(status) {
  const dropped = Object.entries(status.dropped ?? {});
  const facts = [
    ["Spool", `${bytes(status.spool_bytes)}${status.max_spool_bytes ? ` of ${bytes(status.max_spool_bytes)}` : ""}`],
    ["Batches", bytes(status.store_bytes)],
    ["Oldest not shipped", duration(status.oldest_unshipped)],
    ["Dropped", dropped.length ? dropped.map(([reason, count]) => `${number(count)} ${reason}`).join(", ") : "0"],
    status.set_aside ? ["Set aside", counted(status.set_aside, "batch", "batches")] : null,
    status.quarantined ? ["Quarantined", counted(status.quarantined, "file")] : null,
  ].filter(Boolean);
  return el(
    "article.card", { "aria-label": `Subsystem ${status.subsystem}` },
    el("h3", {}, shown(status.subsystem)),
    el("div.flow", {}, [["durable", status.durable], ["sealed", status.sealed], ["shipped", status.shipped], ["published", status.published]].map(([name, count]) => flow(name, count ?? 0, status.durable))),
    el("dl.facts", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, shown(value))])),
    status.last_error ? el("p.bad", {}, shown(status.last_error), status.next_retry ? ` Next try: ${moment(status.next_retry)}.` : "") : null,
    (status.warnings ?? []).map((warning) => el("p.warn", {}, shown(warning))),
  );
}

function flow(name, count, all) {
  const meaning = STEPS.find(([step]) => step === (name === "durable" ? "spool" : name))?.[2];
  return el("div.flow-step", { title: meaning }, el("span", {}, name), el("strong", {}, number(count)), el("progress", { max: Math.max(1, all), value: count, "aria-label": `${name}: ${number(count)} of ${number(all)} records` }));
}

function check({ check: name, state, found, hint }) {
  const [mark, words] = WORDS[state] ?? ["?", state];
  return el("li", { data: { state } }, el("span.check-mark", { "aria-hidden": "true" }, mark), el("div", {}, el("strong", {}, shown(name)), el("span.for-readers", {}, ` ${words}`), " ", shown(found), hint ? el("p.hint", {}, shown(hint)) : null));
}
