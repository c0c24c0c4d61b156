// Bytes for players by source over time, as areas upon each other (uPlot).

import { Component, createRef, h } from "../vendor/preact/preact.mjs";
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { SOURCES, stacked } from "./rates.js";
import { clock, rate } from "./words.js";

const HEIGHT = 220;
const SHORTEST_S = 120;

const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class ServedChart extends Component {
  constructor() {
    super();
    this.box = createRef();
    this.rebuild = () => {
      this.plot?.destroy();
      this.build();
    };
  }

  componentDidMount() {
    this.build();
    this.resize = new ResizeObserver(() => this.plot.setSize({ width: this.box.current.clientWidth, height: HEIGHT }));
    this.resize.observe(this.box.current);
    this.theme = matchMedia("(prefers-color-scheme: dark)");
    this.theme.addEventListener("change", this.rebuild);
  }

  componentWillUnmount() {
    this.theme.removeEventListener("change", this.rebuild);
    this.resize.disconnect();
    this.plot.destroy();
  }

  componentDidUpdate() {
    this.plot.setData(this.data());
  }

  // The highest sum is drawn first; each lower one covers what is below it.
  data() {
    const { at, rates } = this.props.history;
    return [at, ...stacked(rates).reverse()];
  }

  build() {
    const line = styled("--rule");
    const axis = { stroke: styled("--faint"), grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const series = [...SOURCES].reverse().map((name, n) => ({
      label: name,
      stroke: styled(`--${name}`),
      fill: styled(`--${name}`),
      width: 1,
      points: { show: false },
      value: (_plot, _sum, _series, index) => {
        const raw = this.props.history.rates[SOURCES.length - 1 - n];
        return raw.length ? rate(raw[index ?? raw.length - 1] ?? 0) : "–";
      },
    }));
    const options = {
      width: this.box.current.clientWidth,
      height: HEIGHT,
      padding: [8, 4, 0, 0],
      cursor: { y: false, points: { show: false } },
      legend: { live: true },
      scales: { x: { time: true, range: (_plot, first, last) => [Math.min(first, last - SHORTEST_S), last] }, y: { range: (_plot, _low, high) => [0, Math.max(high * 1.08, 8000)] } },
      axes: [{ ...axis, space: 90, values: (_plot, ticks) => ticks.map(clock) }, { ...axis, size: 84, values: (_plot, ticks) => ticks.map(rate) }],
      series: [{ label: "at", value: (_plot, at) => (at ? clock(at) : "now") }, ...series],
    };
    this.plot = new uPlot(options, this.data(), this.box.current);
  }

  render() {
    return h("div", { class: "chart", ref: this.box, role: "img", "aria-label": "Served to players by source over time" });
  }
}
