// The state of one record, and what its proof says: which key signed which checkpoint, in which batch the record is.

import { address, get, inWords, wasEnded } from "./api.js";
import { copyButton, el, fill, shown } from "./dom.js";
import { moment, number } from "./format.js";
import { STEPS } from "./states.js";

const TRUST = {
  given: "This key was given to the server with --key.",
  own: "This is the key of the home that is served.",
  none: "Nobody has confirmed this key: it is the one that the log itself names.",
};

/** The section of a record about its proof. */
export class Proof {
  constructor() {
    this.content = el("div");
    this.node = el("section.proof-section", { "aria-labelledby": "proof-title" }, el("h3", { id: "proof-title" }, "Proof"), this.content);
  }

  /** Ask for the proof of a record, and show it. */
  async load(id, signal) {
    this.node.dataset.ready = "no";
    fill(this.content, el("p.told", {}, "Checking…"));
    try {
      fill(this.content, this.parts(await get("proof", [["id", id]], signal)));
    } catch (error) {
      if (wasEnded(error)) return;
      fill(this.content, el("p.bad", {}, inWords(error)));
    }
    this.node.dataset.ready = "yes";
  }

  parts(proof) {
    return [this.verdict(proof), el("ol.steps", {}, proof.steps.map(step)), proof.verified === null ? null : this.evidence(proof)];
  }

  verdict(proof) {
    if (proof.verified === true) return el("p.verdict.good", {}, el("strong", {}, "Verified. "), "The record is unchanged since it was signed.");
    if (proof.verified === false) return el("p.verdict.bad", {}, el("strong", {}, "Not verified. "), shown(proof.problem ?? "The server gave no reason."));
    if (proof.state !== "spool") return el("p.verdict.warn", {}, el("strong", {}, "Not checked. "), shown(proof.problem ?? "The server gave no reason."));
    return el("p.verdict", {}, el("strong", {}, "Not signed yet. "), "The record is on the disk and waits for the next batch.");
  }

  evidence(proof) {
    const { batch, checkpoint } = proof;
    const rows = [
      batch && ["Batch", [`number ${number(batch.index)} of the log; record ${number(batch.number + 1)} of ${number(batch.records)} in it`]],
      batch && ["Sealed", [moment(batch.sealed), el("span.told", {}, " by the clock of the machine that logged")]],
      batch && ["Manifest", [el("code.long", {}, batch.cid), " ", copyButton(batch.cid, "the CID of the manifest")]],
      batch && ["Log", [el("code.long", {}, batch.log)]],
      checkpoint && ["Checkpoint", [`signed for ${number(checkpoint.size)} batches, root `, el("code.long", {}, checkpoint.root)]],
      proof.key && ["Key", [el("code.long", {}, proof.key), " ", copyButton(proof.key, "the verifier key"), el("p.told", {}, TRUST[proof.trust] ?? "")]],
    ].filter(Boolean);
    return [
      el("dl.facts", {}, rows.map(([name, content]) => [el("dt", {}, name), el("dd", {}, content)])),
      proof.verified ? this.bundle(proof) : null,
    ];
  }

  bundle(proof) {
    return [
      el("p", {}, "The proof bundle proves this record to a person who has neither the home nor the log: ", el("code", {}, "ipfs-logs check FILE --key KEY")),
      el("p.buttons", {}, el("a.button", { href: address("bundle", [["id", proof.id]]), download: true }, "Download the bundle")),
    ];
  }
}

function step({ step: name, done, detail }) {
  const [, words, meaning] = STEPS.find(([known]) => known === name) ?? [name, name, ""];
  return el(
    "li", { data: { done: String(Boolean(done)), step: name }, title: meaning },
    el("span.step-mark", { "aria-hidden": "true" }, done ? "✓" : ""),
    el("span", {}, el("strong", {}, words), el("span.for-readers", {}, done ? ": done" : ": not yet"), detail ? [" – ", shown(detail)] : null),
  );
}
