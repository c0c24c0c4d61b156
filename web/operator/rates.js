// From counters that only grow to rates: what the chart shows. Pure.

export const SOURCES = ["hit", "peer", "tier", "origin"];
const KEPT = 450;

export const noHistory = () => ({ last: null, at: [], rates: SOURCES.map(() => []) });

/** The history with one more overview. Bits per second for players by source since the one before. */
export function withOverview(history, overview) {
  const totals = SOURCES.map((name) => overview.served.find((row) => row.source === name)?.client_bytes ?? 0);
  const last = history.last;
  if (last === null || overview.at <= last.at) return { ...history, last: last ?? { at: overview.at, totals } };
  const passed = overview.at - last.at;
  // A counter falls only when an appliance was deleted: nothing was served backwards.
  const now = totals.map((total, n) => (Math.max(0, total - last.totals[n]) * 8) / passed);
  return {
    last: { at: overview.at, totals },
    at: [...history.at, overview.at].slice(-KEPT),
    rates: history.rates.map((series, n) => [...series, now[n]].slice(-KEPT)),
  };
}

/** The bits per second of all sources over the last `seconds`. */
export function recent(history, seconds = 10) {
  const since = (history.at.at(-1) ?? 0) - seconds;
  const picked = history.at.map((at, n) => (at > since ? n : -1)).filter((n) => n >= 0);
  if (picked.length === 0) return 0;
  const sums = picked.map((n) => history.rates.reduce((sum, series) => sum + series[n], 0));
  return sums.reduce((sum, value) => sum + value, 0) / sums.length;
}

/** Series upon series, for areas that stand on each other: the last is the sum of all. */
export function stacked(rates) {
  const sums = [];
  for (const series of rates) {
    const below = sums.at(-1);
    sums.push(series.map((value, n) => value + (below ? below[n] : 0)));
  }
  return sums;
}
