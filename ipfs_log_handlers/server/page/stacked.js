// Draws stacked bars over time with uPlot. Colours come from the style sheet, so that they follow light and dark.

import { isUtc } from "./format.js";
import { onColours } from "./preferences.js";

/** The levels that have a colour of their own, from the bottom of a bar to its top. */
export const LEVELS = ["debug", "info", "notice", "warning", "error", "critical"];
const SAME = new Map(Object.entries({ trace: "debug", notset: "debug", verbose: "debug", success: "notice", warn: "warning", err: "error", exception: "error", fatal: "critical", alert: "critical", emergency: "critical" }));

const DAY = "\n{YYYY}-{MM}-{DD}";
/** How the axis writes times, by the seconds between two marks: text, then what is added where a year, month or day begins. */
const TIMES = [
  [365 * 86400, "{YYYY}", null, null, null, null, null, null, 1],
  [28 * 86400, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", DAY, null, DAY, null, null, null, 1],
  [0.001, "{ss}.{fff}", `\n{YYYY}-{MM}-{DD} {HH}:{mm}`, null, DAY, null, "\n{HH}:{mm}", null, 1],
];

/** Return the level whose colour a level has; "other" for one that is not known. */
export function levelGroup(level) {
  const name = String(level ?? "").toLowerCase();
  return LEVELS.includes(name) ? name : SAME.get(name) ?? "other";
}

/** A chart in an element. */
export class Stacked {
  /**
   * @param {HTMLElement} place the element
   * @param {{height: number, colours: Object<string, string>, onZoom: ?function(number, number), onPoint: ?function(?number)}} options
   *   height in pixels; the names of the stacked groups and the variables of their colours; a function that gets the range that was
   *   dragged, in seconds; a function that gets the number of the bar under the pointer
   */
  constructor(place, { height, colours, onZoom = null, onPoint = null }) {
    this.place = place;
    this.height = height;
    this.colours = colours;
    this.onZoom = onZoom;
    this.onPoint = onPoint;
    this.chart = null;
    this.shown = null;
    onColours(() => this.redraw());
    new ResizeObserver(() => {
      if (this.chart && place.clientWidth > 0 && place.clientWidth !== this.chart.width) this.chart.setSize({ width: place.clientWidth, height });
    }).observe(place);
  }

  /**
   * Show bars.
   * @param {{from: number, to: number, width: number, times: number[], groups: Object<string, number[]>}} data the range and the
   *   width of a bar in seconds, the beginning of each bar, and the counts of each group
   */
  show(data) {
    this.shown = data;
    this.redraw();
  }

  redraw() {
    if (!this.shown || this.place.clientWidth === 0) return;
    this.chart?.destroy();
    this.chart = new window.uPlot(this.options(), this.data(), this.place);
  }

  data() {
    const { times, groups, width } = this.shown;
    const names = Object.keys(this.colours).filter((name) => groups[name]);
    const sums = times.map(() => 0);
    const layers = names.map((name) => groups[name].map((count, at) => (sums[at] += count)));
    this.names = names.reverse();
    return [times.map((time) => time + width / 2), ...layers.reverse()];
  }

  options() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const { from, to, groups } = this.shown;
    const names = Object.keys(this.colours).filter((name) => groups[name]).reverse();
    const bars = window.uPlot.paths.bars({ size: [0.9, 80] });
    return {
      width: this.place.clientWidth,
      height: this.height,
      legend: { show: false },
      tzDate: (seconds) => (isUtc() ? window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
      padding: [8, 12, 0, 4],
      scales: { x: { time: true, range: () => [from, to] }, y: { range: (_, __, most) => [0, Math.max(1, most) * 1.05] } },
      axes: [
        { stroke: colour("--muted"), grid: { show: false }, ticks: { stroke: colour("--line"), width: 1, size: 4 }, size: 36, font: "11px system-ui", values: TIMES },
        { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, size: 46, font: "11px system-ui",
          incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7],
          values: (_, values) => values.map((value) => (value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}k` : value)) },
      ],
      series: [{}, ...names.map((name) => ({
        label: name, stroke: colour(this.colours[name]), fill: colour(this.colours[name]), width: 0, points: { show: false }, paths: bars,
      }))],
      cursor: { drag: { x: Boolean(this.onZoom), y: false, setScale: false }, y: false, points: { show: false } },
      hooks: {
        setSelect: [(plot) => this.zoomed(plot)],
        setCursor: [(plot) => this.onPoint?.(plot.cursor.idx ?? null)],
      },
    };
  }

  zoomed(plot) {
    const { left, width } = plot.select;
    if (width < 3 || !this.onZoom) return;
    const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.onZoom(from, to);
  }
}
