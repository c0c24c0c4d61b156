// Bytes for players by source over time, as areas upon each other.

import { Plot, area, axes } from "./plot.js";
import { SOURCES, stacked } from "./rates.js";
import { clock, rate } from "./words.js";

const HEIGHT = 220;
const SHORTEST_S = 120;

export class ServedChart extends Plot {
  componentDidUpdate() {
    this.plot.setData(this.data());
  }

  words() {
    return "Served to players by source over time";
  }

  // The highest sum is drawn first; each lower one covers what is below it.
  data() {
    const { at, rates } = this.props.history;
    return [at, ...stacked(rates).reverse()];
  }

  options() {
    const series = [...SOURCES].reverse().map((name, n) => ({
      ...area(name),
      label: name,
      width: 1,
      value: (_plot, _sum, _series, index) => {
        const raw = this.props.history.rates[SOURCES.length - 1 - n];
        return raw.length ? rate(raw[index ?? raw.length - 1] ?? 0) : "–";
      },
    }));
    return {
      height: HEIGHT,
      scales: { x: { time: true, range: (_plot, first, last) => [Math.min(first, last - SHORTEST_S), last] }, y: { range: (_plot, _low, high) => [0, Math.max(high * 1.08, 8000)] } },
      axes: axes(clock, rate),
      series: [{ label: "at", value: (_plot, at) => (at ? clock(at) : "now") }, ...series],
    };
  }
}
