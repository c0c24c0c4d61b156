// The page of misses: what did not come from inside, by site and hour.

import { h } from "../vendor/preact/preact.mjs";
import htm from "../vendor/htm/htm.mjs";
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { CAUSES, CAUSE_WORDS, VIEWS, best, csv, series } from "./missing.js";
import { Plot, area, axes } from "./plot.js";
import { stacked } from "./rates.js";
import { bytes, count, share } from "./words.js";

const html = htm.bind(h);
const HEIGHT = 260;
const MOST_OF_ALL = 168;
const BACK = [24, 48, 168, 720];

export function Misses({ misses, sites, act }) {
  const { list, query } = misses;
  const view = misses.view || (list ? best(list.hours) : "served");
  return html`
    <section aria-labelledby="misses">
      <h2 id="misses">Misses by site and hour</h2>
      <div class="asking">
        <label>
          Site
          <select name="site" onChange=${(event) => act.findMisses(ofSite(query, event.target.value))}>
            <option value="" selected=${query.site === ""}>all sites</option>
            ${sites.map((site) => html`<option value=${site.id} selected=${site.id === query.site}>${site.name}</option>`)}
          </select>
        </label>
        <label>
          Hours
          <select name="hours" onChange=${(event) => act.findMisses({ ...query, hours: event.target.value })}>
            ${BACK.filter((hours) => query.site || hours <= MOST_OF_ALL).map((hours) => html`<option value=${hours} selected=${String(hours) === query.hours}>${hours}</option>`)}
          </select>
        </label>
        <label class="long">
          Shown
          <select name="view" onChange=${(event) => act.chartMisses(event.target.value)}>
            ${Object.entries(VIEWS).map(([name, { words }]) => html`<option value=${name} selected=${name === view}>${words}</option>`)}
          </select>
        </label>
        ${list && list.hours.length > 0 && html`<button class="quiet" onClick=${() => save(list.hours)}>Save as CSV</button>`}
      </div>
      ${misses.problem && html`<p class="bad" role="alert">${misses.problem}</p>`}
      ${list && html`<${Shown} key=${view} list=${list} view=${view} />`}
    </section>
  `;
}

// Of all sites together fewer hours are told than of one.
const ofSite = (query, site) => ({ site, hours: site ? query.hours : String(Math.min(query.hours, MOST_OF_ALL)) });

function Shown({ list, view }) {
  const { field } = VIEWS[view];
  const known = list.hours.filter((one) => Object.keys(one[field]).length > 0);
  return html`
    ${(list.silent ?? []).map((words) => html`<p class="bad" role="alert">Not asked or not answering: ${words}</p>`)}
    ${known.length === 0 ? html`<p class="faint">${NOTHING[view]}</p>` : html`<${Chart} hours=${known} view=${view} />`}
    <p class="faint">${MEANING[view]}</p>
    ${list.hours.length > 0 && html`<${Table} hours=${list.hours} />`}
  `;
}

const NOTHING = {
  joined: "No logs were joined for these hours.",
  served: "No appliance has reported anything in these hours.",
  meant: "Steering has decided nothing in these hours, or does not remember them.",
};
const MEANING = {
  joined:
    "The steering log joined with access logs, as operators import it (lowtide steering misses --json, then lowtide control-plane misses import): " +
    "why each byte for players came from inside the site or not.",
  served:
    "Counters of the appliances, in the hour in which they were reported. What players fetched past the appliances is not in it, and why a byte was fetched is not known here.",
  meant:
    "Groups of files in the answers of steering, by what their first choice comes to. What players then did is not in it. Counted since each process of steering began, for at most 48 hours.",
};

function Table({ hours }) {
  return html`
    <div class="wide">
      <table class="rows">
        <thead>
          <tr>
            <th>Hour (UTC)</th>
            <th>Site</th>
            <th class="number">Reported</th>
            <th class="number">From the store</th>
            <th class="number">Plays</th>
            <th class="number">Meant inside</th>
            <th class="number">Joined</th>
            ${CAUSES.map((name) => html`<th class="number">${CAUSE_WORDS[name]}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${[...hours].reverse().map((one) => html`<${Row} key=${one.hour + one.site} one=${one} />`)}
        </tbody>
      </table>
    </div>
  `;
}

function Row({ one }) {
  const served = sum(one.served);
  const groups = sum(one.meant);
  const joined = sum(one.joined);
  return html`
    <tr>
      <td>${one.hour.replace("T", " ")}:00</td>
      <td>${one.site || "nobody's"}</td>
      <td class="number">${known(one.served) ? bytes(served) : "–"}</td>
      <td class="number">${part(one.served.hit, served)}</td>
      <td class="number">${known(one.meant) ? count(one.plays) : "–"}</td>
      <td class="number">${part(one.meant.inside, groups)}</td>
      <td class="number">${known(one.joined) ? bytes(joined) : "–"}</td>
      ${CAUSES.map((name) => html`<td class="number">${part(one.joined[name], joined)}</td>`)}
    </tr>
  `;
}

const sum = (counts) => Object.values(counts).reduce((total, value) => total + value, 0);
const known = (counts) => Object.keys(counts).length > 0;
const part = (value, whole) => share(whole > 0 ? (value ?? 0) / whole : null);

class Chart extends Plot {
  componentDidUpdate(before) {
    if (before.hours !== this.props.hours) this.rebuild();
  }

  words() {
    return VIEWS[this.props.view].words;
  }

  // The highest sum is drawn first; each lower one covers what is below it.
  data() {
    const { at, values } = series(this.props.hours, this.props.view);
    return [at, ...stacked(values).reverse()];
  }

  options() {
    const { names, labels, isBytes } = VIEWS[this.props.view];
    const { at, values } = series(this.props.hours, this.props.view);
    const words = isBytes ? bytes : count;
    const paths = uPlot.paths.bars({ size: [0.8, 60] });
    const drawn = [...names].reverse().map((name, n) => ({
      ...area(name),
      label: labels[name],
      width: 0,
      paths,
      value: (_plot, _sum, _series, index) => (index === null ? "–" : words(values[names.length - 1 - n][index])),
    }));
    return {
      height: HEIGHT,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      scales: {
        x: { time: true, range: () => [Math.min(at[0], at.at(-1) - 6 * 3600) - 1800, at.at(-1) + 1800] },
        y: { range: (_plot, _low, high) => [0, Math.max(high * 1.08, 1)] },
      },
      axes: axes(hourWords, words),
      series: [{ label: "UTC", value: (_plot, hour) => (hour ? new Date(hour * 1000).toISOString().slice(0, 16).replace("T", " ") : "–") }, ...drawn],
    };
  }
}

/** The hour of the day in UTC, with the day at midnight. */
function hourWords(at) {
  const text = new Date(at * 1000).toISOString();
  return text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
}

function save(hours) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(hours)], { type: "text/csv" }));
  link.download = "misses.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 0);
}
