// The view for SQL: a query over the records of the filter, answered by a process of its own at the server.

import { inWords, post } from "./api.js";
import { announce, el, fill, shortened, shown } from "./dom.js";
import { chipsOf } from "./filters.js";
import { counted, plain } from "./format.js";
import { current, go, parameters } from "./route.js";

const FIRST = "SELECT level, count(*) AS records\nFROM logs_all\nGROUP BY level\nORDER BY records DESC";

/** The view. */
export class Sql {
  constructor(about) {
    this.text = el("textarea", { id: "sql-text", rows: "7", spellcheck: "false", autocomplete: "off", maxlength: "60000", "aria-describedby": "sql-help" });
    this.run = el("button.primary", { type: "submit" }, "Run");
    this.chips = el("ul.chips", { "aria-label": "The filter" });
    this.answer = el("div.answer", { tabindex: "-1" });
    this.node = el(
      "div.page.sql", {},
      el("h1", {}, "SQL"),
      el("p.lead", { id: "sql-help" }, "One SELECT in the SQL of DuckDB. Tables: ", el("code", {}, "logs_all"), about.subsystems.map((name) => [", ", el("code", {}, shown(name))]), ". Ctrl+Enter runs it. It gets 10 seconds and 1,000 rows, and reads no file."),
      this.chips,
      el("form", { onsubmit: (event) => this.submitted(event) }, el("label", { for: "sql-text" }, "Query"), this.text, el("p.buttons", {}, this.run)),
      this.answer,
    );
    this.text.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && this.submitted(event));
  }

  /** Show a state of the address; a query in it is shown and not run. */
  show(state) {
    fill(this.chips, chipsOf(state.filter));
    this.chips.hidden = !this.chips.childElementCount;
    if (state.query && state.query !== this.text.value) this.text.value = state.query;
    if (!this.text.value) this.text.value = FIRST;
    this.node.dataset.ready = "yes";
  }

  hide() {
    // An answer that comes later is shown when a person returns.
  }

  async submitted(event) {
    event.preventDefault();
    const query = this.text.value;
    go({ query }, { replace: true });
    this.run.disabled = true;
    this.node.dataset.ready = "no";
    fill(this.answer, el("p.told", {}, "Running…"));
    try {
      this.draw(await post("sql", { query }, parameters(current().filter)));
    } catch (error) {
      fill(this.answer, el("p.bad", { role: "alert" }, shown(inWords(error), { lines: true })));
    }
    this.run.disabled = false;
    this.node.dataset.ready = "yes";
  }

  draw({ columns, rows, truncated, seconds }) {
    const told = `${counted(rows.length, "row")} in ${seconds.toFixed(2)} s.${truncated ? " Further rows are left out." : ""}`;
    announce(told);
    fill(
      this.answer, el("p.told", {}, told),
      el("div.scroll", { tabindex: "0", role: "region", "aria-label": "Answer" },
        el("table.data", {},
          el("thead", {}, el("tr", {}, columns.map((name, at) => el(isNumeric(rows, at) ? "th.number" : "th", { scope: "col" }, shown(String(name)))))),
          el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell)))))),
    );
  }
}

function isNumeric(rows, at) {
  return rows.some((row) => row[at] !== null) && rows.every((row) => row[at] === null || typeof row[at] === "number");
}

function cell(value) {
  if (value === null) return el("td", {}, el("span.null", {}, "null"));
  const text = plain(value);
  return el(typeof value === "number" ? "td.number" : "td", { title: text.length > 300 ? shortened(text, 2000) : null }, shown(shortened(text, 300)));
}
