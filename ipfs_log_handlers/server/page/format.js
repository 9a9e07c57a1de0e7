// Writes times, numbers and values for people.

import { choose, chosen } from "./preferences.js";

let utc = chosen("zone", "local") === "utc";

/** Whether times are shown in UTC. */
export function isUtc() {
  return utc;
}

/** Show times in UTC, or in the time zone of the computer. */
export function setUtc(value) {
  utc = value;
  choose("zone", value ? "utc" : "local");
}

const two = (number) => String(number).padStart(2, "0");

function partsOf(date) {
  return utc
    ? [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()]
    : [date.getFullYear(), date.getMonth() + 1, date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds()];
}

/** Return date and time of day of a record, `["2026-03-02", "17:40:00.123"]`; a text that is no time stays as it is. */
export function dayAndTime(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return ["", String(text ?? "")];
  const [year, month, day, hours, minutes, seconds] = partsOf(date);
  const fraction = /\.(\d{3})/.exec(text)?.[1] ?? "000";
  return [`${year}-${two(month)}-${two(day)}`, `${two(hours)}:${two(minutes)}:${two(seconds)}.${fraction}`];
}

/** Return a time with its date, to the second. */
export function moment(text) {
  if (text === null || text === undefined || text === "") return "–";
  const [day, time] = dayAndTime(text);
  return day ? `${day} ${time.slice(0, 8)}` : time;
}

/** Return a number with a comma between thousands. */
export function number(value) {
  return Number(value ?? 0).toLocaleString("en-US");
}

/** Return a number with its noun: "1 record", "2 records". */
export function counted(value, noun, plural = `${noun}s`) {
  return `${number(value)} ${value === 1 ? noun : plural}`;
}

/** Return a number of bytes in a unit that people read. */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toPrecision(3)} ${units[unit]}`;
}

/** Return a number of seconds in words: "45 s", "12 min", "3 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const units = [[86400, "days"], [3600, "h"], [60, "min"]];
  for (const [length, unit] of units) if (seconds >= 2 * length) return `${Math.round(seconds / length)} ${unit}`;
  return `${seconds < 10 ? Number(seconds).toFixed(1) : Math.round(seconds)} s`;
}

/** Return a value of a record as text: a string as it is, anything else as JSON. */
export function plain(value) {
  if (typeof value === "string") return value;
  if (value instanceof ExactNumber) return value.text;
  return JSON.stringify(value, (_, member) => (member instanceof ExactNumber ? Number(member.text) : member)) ?? "";
}

/** A number that JavaScript cannot hold exactly, with all its digits. */
export class ExactNumber {
  constructor(text) {
    this.text = text;
  }
}

/** Read the stored JSON of a record; numbers keep all their digits where the browser can tell them. */
export function parsed(json) {
  return JSON.parse(json, (_, value, context) =>
    typeof value === "number" && context?.source !== undefined && String(value) !== context.source ? new ExactNumber(context.source) : value,
  );
}
