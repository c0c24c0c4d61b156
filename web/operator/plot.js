// What the charts of this page have in common (uPlot): as wide as their place, in the colours of the theme, sources one upon the other.

import { Component, createRef, h } from "../vendor/preact/preact.mjs";
import uPlot from "../vendor/uplot/uPlot.esm.js";

const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A chart says what is its own: `options()` and `data()` for uPlot, `words()` for who does not see it. */
export class Plot extends Component {
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
    this.resize = new ResizeObserver(() => this.plot.setSize({ width: this.box.current.clientWidth, height: this.plot.height }));
    this.resize.observe(this.box.current);
    this.theme = matchMedia("(prefers-color-scheme: dark)");
    this.theme.addEventListener("change", this.rebuild);
  }

  componentWillUnmount() {
    this.theme.removeEventListener("change", this.rebuild);
    this.resize.disconnect();
    this.plot.destroy();
  }

  build() {
    const options = { width: this.box.current.clientWidth, padding: [8, 4, 0, 0], cursor: { y: false, points: { show: false } }, ...this.options() };
    this.plot = new uPlot(options, this.data(), this.box.current);
  }

  render() {
    return h("div", { class: "chart", ref: this.box, role: "img", "aria-label": this.words() });
  }
}

/** The axes of time and of values, each with its words for a tick. */
export function axes(timeWords, valueWords) {
  const axis = { stroke: styled("--faint"), grid: { stroke: styled("--rule"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  return [{ ...axis, space: 90, values: (_plot, ticks) => ticks.map(timeWords) }, { ...axis, size: 84, values: (_plot, ticks) => ticks.map(valueWords) }];
}

/** A series in the colour that the style sheet has for its name. */
export const area = (name) => ({ stroke: styled(`--${name}`), fill: styled(`--${name}`), points: { show: false } });
