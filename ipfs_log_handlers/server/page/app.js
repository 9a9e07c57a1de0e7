// Starts the page: asks what is served, makes the views, and shows the one that the address names.

import { get, inWords } from "./api.js";
import { Chain } from "./chain.js";
import { byId, el } from "./dom.js";
import { Explorer } from "./explorer.js";
import { isUtc, setUtc } from "./format.js";
import { Health } from "./health.js";
import { listen } from "./keyboard.js";
import { choose, chosen } from "./preferences.js";
import { current, everything, link, onChange, VIEWS } from "./route.js";
import { Sql } from "./sql.js";

const TITLES = { records: "Records", chain: "Chain", health: "Health", sql: "SQL" };
const THEMES = [["auto", "Automatic colours"], ["light", "Light colours"], ["dark", "Dark colours"]];

let shown = null;

async function start() {
  setUpTheme();
  byId("skip").addEventListener("click", () => byId("main").focus());
  let about;
  try {
    about = await get("about");
  } catch (error) {
    const problem = byId("problem");
    problem.textContent = error.status === 401 ? "This server needs a token: open the link that `ipfs-logs serve` has printed." : inWords(error);
    problem.hidden = false;
    document.body.dataset.ready = "refused";
    return;
  }
  const views = { records: new Explorer(about), chain: new Chain() };
  if (about.home) views.health = new Health();
  if (about.sql) views.sql = new Sql(about);
  byId("source").append(el("bdi", { dir: "ltr" }, about.sources.map(({ name }) => name).join(", ")));
  byId("source").title = `ipfs-logs ${about.version}; ${about.verify === "off" ? "batches are not verified" : "each batch is verified before its records are shown"}`;
  setUpZone(views);
  listen({ explorer: views.records, views: Object.keys(views), view: () => current().view });
  const show = (state) => showView(views, views[state.view] ? state : { ...state, view: "records" });
  onChange(show);
  show(current());
  document.body.dataset.ready = "yes";
}

function showView(views, state) {
  const view = views[state.view];
  if (view !== shown) {
    shown?.hide();
    byId("main").replaceChildren(view.node);
    shown = view;
  }
  document.title = `${TITLES[state.view]} – ipfs-logs`;
  for (const entry of byId("views").children) {
    const name = entry.dataset.view;
    entry.hidden = !views[name] || !VIEWS.includes(name);
    entry.href = name === "health" ? "#/health" : link({ view: name, record: "", live: false, log: "", ...(name === "chain" ? { filter: everything() } : {}) });
    if (name === state.view) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  view.show(state);
}

function setUpTheme() {
  const button = byId("theme");
  const at = () => Math.max(0, THEMES.findIndex(([name]) => name === chosen("theme", "auto")));
  button.textContent = THEMES[at()][1];
  button.addEventListener("click", () => {
    const [name, text] = THEMES[(at() + 1) % THEMES.length];
    choose("theme", name);
    button.textContent = text;
  });
}

function setUpZone(views) {
  const button = byId("zone");
  const draw = () => {
    button.textContent = isUtc() ? "UTC" : "Local time";
    button.setAttribute("aria-pressed", String(isUtc()));
  };
  draw();
  button.addEventListener("click", () => {
    setUtc(!isUtc());
    draw();
    views.records.list.redraw();
    views.records.filters.show(current().filter);
    if (views.records.histogram.range) views.records.histogram.take(views.records.histogram.answer);
    if (shown !== views.records) shown.show(current());
  });
}

start();
