// Numbers as people read them. Bytes in powers of 1000, rates in bit/s.

const SIZES = ["B", "kB", "MB", "GB", "TB", "PB"];
const RATES = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];

export const bytes = (value) => scaled(value, SIZES);
export const rate = (value) => scaled(value, RATES);
export const count = (value) => value.toLocaleString("en");
export const share = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(value * 100).toFixed(digits)} %`);

export function age(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

/** An instant as the time of day here, with the day when it is not today. */
export function moment(at) {
  const date = new Date(at * 1000);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const today = date.toDateString() === new Date().toDateString();
  return today ? time : `${date.toLocaleDateString([], { month: "short", day: "numeric" })}, ${time}`;
}

/** An instant of today to the second. */
export const clock = (at) => new Date(at * 1000).toLocaleTimeString();

/** `vod|/media/TITLE/TIER/FILE` without what all keys share. */
export const fileName = (key) => key.replace(/^[^|]*\|\/media\//, "");

function scaled(value, units) {
  let step = 0;
  while (value >= 999.5 && step < units.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = step === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[step]}`;
}
