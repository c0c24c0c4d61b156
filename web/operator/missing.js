// Misses as series and as CSV: what the page of misses shows. Pure.

export const CAUSES = ["inside", "content-miss", "health-miss", "other"];
export const CAUSE_WORDS = { inside: "inside", "content-miss": "content miss", "health-miss": "health miss", other: "other" };
const SOURCES = ["hit", "peer", "tier", "origin"];
const SOURCE_WORDS = { hit: "from the store", peer: "from a peer", tier: "from another site", origin: "from the origin" };

/** What can be charted. `field` is a member of a site and hour; `known` says whether anybody knows it of an hour. */
export const VIEWS = {
  joined: { words: "Bytes by cause, from joined logs", field: "joined", names: CAUSES, labels: CAUSE_WORDS, isBytes: true },
  served: { words: "Bytes by source, as appliances reported", field: "served", names: SOURCES, labels: SOURCE_WORDS, isBytes: true },
  meant: { words: "First choices by what they come to, as steering decided", field: "meant", names: CAUSES, labels: CAUSE_WORDS, isBytes: false },
};

/** The view to begin with: logs where any were joined, else reports. */
export const best = (hours) => (hours.some((one) => Object.keys(one.joined).length > 0) ? "joined" : "served");

/** {at: seconds of each hour, values: one series per name}: sites added up, hours without anything as nought. */
export function series(hours, view) {
  const { field, names } = VIEWS[view];
  const sums = new Map();
  for (const one of hours) {
    const at = Date.parse(`${one.hour}:00:00Z`) / 1000;
    const sum = sums.get(at) ?? names.map(() => 0);
    names.forEach((name, n) => (sum[n] += one[field][name] ?? 0));
    sums.set(at, sum);
  }
  const known = [...sums.keys()];
  if (known.length === 0) return { at: [], values: names.map(() => []) };
  const at = [];
  for (let hour = Math.min(...known); hour <= Math.max(...known); hour += 3600) at.push(hour);
  return { at, values: names.map((_, n) => at.map((hour) => sums.get(hour)?.[n] ?? 0)) };
}

/** The columns of `lowtide control-plane misses list --csv`. What nobody knows is empty. */
export function csv(hours) {
  const head = [
    "hour",
    "site",
    ...SOURCES.map((name) => `reported_${name}_bytes`),
    "plays",
    ...CAUSES.map((name) => `meant_${name}_groups`),
    "joined_requests",
    ...CAUSES.map((name) => `joined_${name}_bytes`),
  ];
  const rows = hours.map((one) => [
    one.hour,
    one.site,
    ...SOURCES.map((name) => one.served[name] ?? ""),
    Object.keys(one.meant).length ? one.plays : "",
    ...CAUSES.map((name) => one.meant[name] ?? ""),
    one.requests || "",
    ...CAUSES.map((name) => one.joined[name] ?? ""),
  ]);
  return [head, ...rows].map((row) => row.join(",")).join("\r\n") + "\r\n";
}
