// The route explorer: which prefix comes from where, what is inconsistent, what has no alternative source.

import { h } from "../vendor/preact/preact.mjs";
import htm from "../vendor/htm/htm.mjs";
import { FILTERS, marked } from "./routing.js";
import { count } from "./words.js";

const html = htm.bind(h);
const ALARMS = ["session-lost-routes-held", "session-down", "over-maximum", "flapping"];

export function Routes({ routes, sites, act }) {
  const { found, query } = routes;
  return html`
    <section aria-labelledby="sources">
      <h2 id="sources">Sources of routes</h2>
      ${found && html`<${Sources} sources=${found.sources.sources} />`}
    </section>
    <section aria-labelledby="routes">
      <h2 id="routes">Prefixes</h2>
      <${Search} query=${query} sites=${sites} busy=${routes.busy} act=${act} />
      ${routes.problem && html`<p class="bad" role="alert">${routes.problem}</p>`}
      ${found && html`<${Prefixes} found=${found} filter=${routes.filter} asked=${routes.asked} act=${act} />`}
    </section>
  `;
}

function Search({ query, sites, busy, act }) {
  const find = (event) => {
    event.preventDefault();
    act.findRoutes(Object.fromEntries(new FormData(event.target)));
  };
  return html`
    <form class="asking" onSubmit=${find}>
      <label>Address or prefix<input name="q" defaultValue=${query.q} placeholder="81.2.3.4" spellcheck="false" /></label>
      <label>
        Site
        <select name="site">
          <option value="" selected=${query.site === ""}>all sites</option>
          ${sites.map((site) => html`<option value=${site.id} selected=${site.id === query.site}>${site.name}</option>`)}
        </select>
      </label>
      <button type="submit" disabled=${busy}>${busy ? "Asking …" : "Look up"}</button>
    </form>
  `;
}

function Sources({ sources }) {
  if (sources.length === 0) return html`<p class="faint">No BGP session and no import: sites are known by the prefixes of their records.</p>`;
  return html`
    <div class="wide">
      <table class="rows">
        <thead>
          <tr>
            <th>Source</th>
            <th>Site</th>
            <th>State</th>
            <th class="number">Heard</th>
            <th class="number">Taken</th>
            <th class="number">Quarantined</th>
            <th>How it is</th>
          </tr>
        </thead>
        <tbody>
          ${sources.map(
            (one) => html`
              <tr key=${one.id}>
                <td><b>${one.id}</b><br /><span class="faint">${one.kind}${one.peer && ` to ${one.peer}, AS ${one.peer_as}`}</span></td>
                <td>${one.site_id}</td>
                <td><span class="level"><span class="dot ${ALARMS.includes(one.state) ? "bad" : "good"}"></span>${one.state}</span></td>
                <td class="number">${count(one.heard)}</td>
                <td class="number">${count(one.taken)}</td>
                <td class="number ${one.quarantined ? "bad" : ""}">${count(one.quarantined)}</td>
                <td>${one.sentence}</td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

function Prefixes({ found, filter, asked, act }) {
  const rows = marked(found, filter);
  const { routes, quarantine, inconsistent, lonely } = found;
  const totals = { all: routes.total, quarantined: quarantine.total, inconsistent: inconsistent.total, lonely: lonely.total };
  return html`
    <div class="choice" role="group" aria-label="Which prefixes">
      ${Object.entries(FILTERS).map(
        ([name, words]) => html`
          <button class=${name === filter ? "quiet chosen" : "quiet"} aria-pressed=${name === filter} onClick=${() => act.filterRoutes(name)}>
            ${words} <b>${count(totals[name])}</b>
          </button>
        `,
      )}
    </div>
    ${filter !== "all" && asked.q && html`<p class="faint">Of all prefixes, not only of ${asked.q}.</p>`}
    ${rows.length === 0
      ? html`<p class="faint" role="status">${EMPTY[filter]}</p>`
      : html`<div class="wide">
          <table class="rows prefixes">
            <thead>
              <tr>
                <th>Prefix</th>
                <th>Sites known by it</th>
                <th>Said by</th>
                <th>What to know</th>
              </tr>
            </thead>
            <tbody>
              ${rows.map((row) => html`<${PrefixRow} key=${row.cidr} row=${row} />`)}
            </tbody>
          </table>
        </div>`}
    ${rows.length < totals[filter] && html`<p class="faint">${count(rows.length)} of ${count(totals[filter])} are shown: look up a narrower prefix.</p>`}
  `;
}

function PrefixRow({ row }) {
  return html`
    <tr>
      <td><code>${row.cidr}</code></td>
      <td>${row.sites.join(", ") || "–"}</td>
      <td>
        ${row.heard.map(
          (one) => html`
            <div>
              ${one.source === "record" ? `record of ${one.site_id ?? row.sites.join(", ")}` : one.source}
              <span class="faint"> ${one.as_path?.length ? `AS ${one.as_path.join(" ")}` : ""}${one.med ? `, MED ${one.med}` : ""}${one.next_hop ? `, via ${one.next_hop}` : ""}</span>
            </div>
          `,
        )}
      </td>
      <td>${row.marks.map((mark) => html`<div><span class="tag ${mark.kind}">${mark.word}</span> <span class="faint">${mark.words}</span></div>`)}</td>
    </tr>
  `;
}

const EMPTY = {
  all: "No source says anything of it.",
  quarantined: "Nothing is quarantined.",
  inconsistent: "All appliances of a cluster hear the same.",
  lonely: "Every prefix is known at more than one site.",
};
