// What the page shows, as functions of the state. Nothing here asks the network.

import { h } from "../vendor/preact/preact.mjs";
import htm from "../vendor/htm/htm.mjs";
import { ServedChart } from "./chart.js";
import { Misses } from "./misses.js";
import { Plays } from "./plays.js";
import { SOURCES, recent } from "./rates.js";
import { Routes } from "./routes.js";
import { age, bytes, count, fileName, moment, rate, share } from "./words.js";

const html = htm.bind(h);
const SOURCE_WORDS = {
  hit: "from the store",
  peer: "from a peer",
  tier: "from another site",
  origin: "from the origin",
};

export const PAGES = { overview: "Overview", plays: "Plays", misses: "Misses", routes: "Routes" };

export function App({ state, act }) {
  if (!state.token) return html`<${Login} problem=${state.problem} act=${act} />`;
  if (!state.overview) return html`<main class="alone"><p>${state.problem || "Asking the control plane …"}</p></main>`;
  return html`
    <${Head} state=${state} act=${act} />
    <main><${Page} state=${state} act=${act} /></main>
  `;
}

function Page({ state, act }) {
  const sites = state.overview.sites.map((item) => item.site);
  if (state.view === "plays") return html`<${Plays} plays=${state.plays} act=${act} />`;
  if (state.view === "misses") return html`<${Misses} misses=${state.misses} sites=${sites} act=${act} />`;
  if (state.view === "routes") return html`<${Routes} routes=${state.routes} sites=${sites} act=${act} />`;
  return html`
    <${Figures} overview=${state.overview} history=${state.history} />
    <${Sites} overview=${state.overview} reports=${state.reports} act=${act} />
    <${Appliances} overview=${state.overview} />
    <${Served} overview=${state.overview} history=${state.history} />
    <${Explain} state=${state} act=${act} />
  `;
}

function Login({ problem, act }) {
  const enter = (event) => {
    event.preventDefault();
    act.enter(new FormData(event.target).get("token").trim());
  };
  return html`
    <main class="alone">
      <h1>Lowtide operator</h1>
      <form onSubmit=${enter}>
        <label for="token">Operator token</label>
        <input id="token" name="token" type="password" autocomplete="off" required autofocus />
        <button type="submit">Enter</button>
      </form>
      ${problem && html`<p class="bad" role="alert">${problem}</p>`}
      <p class="faint">
        It is in the file <code>operator.token</code> in the control plane's state folder. This page keeps it until the tab is
        closed.
      </p>
    </main>
  `;
}

function Head({ state, act }) {
  const late = state.problem !== null;
  return html`
    <header>
      <h1>Lowtide</h1>
      <nav>
        ${Object.entries(PAGES).map(
          ([name, words]) => html`<a href=${`#/${name}`} aria-current=${name === state.view ? "page" : null}>${words}</a>`,
        )}
      </nav>
      <span class=${late ? "pulse bad" : "pulse"} role="status">
        ${late ? `${state.problem} Last seen ${moment(state.overview.at)}.` : `live, ${moment(state.overview.at)}`}
      </span>
      <button class="quiet" onClick=${act.leave}>Forget token</button>
    </header>
  `;
}

function Figures({ overview, history }) {
  const live = overview.appliances.filter((item) => item.appliance.state === "live" && !item.health.suspect).length;
  const served = sum(overview.served.map((row) => row.client_bytes));
  const plan = overview.plan;
  return html`
    <dl class="figures">
      <div>
        <dt>Served from inside</dt>
        <dd>${share(overview.inside_share)}</dd>
        <small>${plan ? `${share(plan.expected_inside_share)} expected by plan ${plan.number}` : "no plan yet"}</small>
      </div>
      <div>
        <dt>To players</dt>
        <dd>${bytes(served)}</dd>
        <small>${rate(recent(history))} now</small>
      </div>
      <div>
        <dt>Appliances live</dt>
        <dd>${live} <span class="of">of ${overview.appliances.length}</span></dd>
        <small>${overview.sites.length} ${overview.sites.length === 1 ? "site" : "sites"}</small>
      </div>
      <div>
        <dt>Catalogue</dt>
        <dd>${bytes(overview.catalogue_bytes)}</dd>
        <small>${count(overview.titles)} titles, ${count(overview.files)} files</small>
      </div>
      <div>
        <dt>Tonight's plan</dt>
        <dd>${plan ? `${count(plan.orders)} ${plan.orders === 1 ? "order" : "orders"}` : "–"}</dd>
        <small>${plan ? `${bytes(plan.bytes_to_fill)} to fill, made ${moment(plan.created_at)}` : "made every night"}</small>
      </div>
    </dl>
  `;
}

function Sites({ overview, reports, act }) {
  return html`
    <section aria-labelledby="sites">
      <h2 id="sites">Sites</h2>
      ${overview.sites.length === 0 && html`<p class="faint">None yet: <code>lowtide control-plane sites put FILE</code>.</p>`}
      <div class="sites">
        ${overview.sites.map(
          (item) => html`<${SiteCard} key=${item.site.id} item=${item} said=${reports[item.site.id]} act=${act} />`,
        )}
      </div>
    </section>
  `;
}

function SiteCard({ item, said, act }) {
  const { site } = item;
  const fetched = sum(item.served.filter((row) => row.source !== "hit").map((row) => row.fill_bytes));
  const crossed = sum(item.served.filter((row) => row.source === "tier" || row.source === "origin").map((row) => row.fill_bytes));
  return html`
    <article>
      <h3>${site.name} ${site.is_tier && html`<span class="tag">tier</span>`}</h3>
      <p class="faint">${site.isp}, ${site.region} · ${item.appliances.join(", ") || "no appliance"}</p>
      <div class="row"><span>Served from inside</span><b>${share(item.inside_share)}</b></div>
      <${SourceBar} served=${item.served} />
      <div class="row"><span>Tonight's fill</span><span>${fillWords(item.fill)}</span></div>
      <${Bar} done=${item.fill.bytes_done} total=${item.fill.bytes_total} bad=${item.fill.failed > 0} label="fill" />
      <p class="faint">
        ${site.window.start}–${site.window.end} ${site.window.timezone}, at most ${rate(site.window.rate_bps)}. Filled so far
        ${" "}${bytes(fetched)}, of it ${bytes(crossed)} across the border.
      </p>
      ${item.fill.failures.map((line) => html`<p class="bad">${line}</p>`)}
      <p>
        <button class="quiet" onClick=${() => act.report(site.id)}>Last night's report</button>
        ${said && html` <span class="faint" role="status">${said}</span>`}
      </p>
    </article>
  `;
}

function Appliances({ overview }) {
  return html`
    <section aria-labelledby="appliances">
      <h2 id="appliances">Appliances</h2>
      <div class="wide">
        <table>
          <thead>
            <tr>
              <th>Appliance</th>
              <th>State</th>
              <th>Health</th>
              <th class="number">Load</th>
              <th class="number">Sending</th>
              <th class="number">Served</th>
              <th class="number">Misses</th>
              <th>Fill</th>
              <th>Disk</th>
              <th class="number">Plan</th>
              <th class="number">Report</th>
            </tr>
          </thead>
          <tbody>
            ${overview.appliances.map((item) => html`<${ApplianceRow} key=${item.appliance.id} item=${item} />`)}
          </tbody>
        </table>
      </div>
    </section>
  `;
}

function ApplianceRow({ item }) {
  const { appliance, health } = item;
  const behind = item.reported_plan_number !== item.plan_number;
  return html`
    <tr>
      <td>
        <b>${appliance.id}</b><br /><span class="faint">${appliance.site_id}</span>
        ${item.name && html`<br /><${NameWords} name=${item.name} />`}
      </td>
      <td><span class="state ${appliance.state}">${appliance.state}</span></td>
      <td>
        <${HealthWords} health=${health} connected=${item.connected} />
        ${health.reasons.length > 0 && html`<br /><span class="faint">${health.reasons.join(", ")}</span>`}
      </td>
      <td class="number">${share(health.load, 0)}</td>
      <td class="number">${rate(item.egress_bps)}<br /><span class="faint">${count(item.connections)} open</span></td>
      <td class="number">${bytes(item.client_bytes)}<br /><span class="faint">${count(item.client_requests)} requests</span></td>
      <td class="number">${count(item.content_misses)}<br /><span class="faint">${count(item.evictions)} evicted</span></td>
      <td>
        <${Bar} done=${item.fill.bytes_done} total=${item.fill.bytes_total} bad=${item.fill.failed > 0} label="fill" />
        <span class="faint">${fillWords(item.fill)}</span>
      </td>
      <td><${Disk} item=${item} /></td>
      <td class="number ${behind ? "bad" : ""}" title=${behind ? "it still works by an older plan" : ""}>
        ${item.plan_number || "–"}${behind && html`<br /><span class="faint">has ${item.reported_plan_number || "none"}</span>`}
      </td>
      <td class="number">${age(item.report_age_s)}</td>
    </tr>
  `;
}

function HealthWords({ health, connected }) {
  if (health.suspect) return html`<span class="level"><span class="dot bad"></span>suspect</span>`;
  if (!health.serving) return html`<span class="level"><span class="dot warn"></span>not serving</span>`;
  const kind = health.score >= 0.8 ? "good" : "warn";
  const words = `${health.score.toFixed(2)}${connected ? "" : " (no stream)"}`;
  return html`<span class="level"><span class="dot ${kind}"></span>${words}</span>`;
}

function NameWords({ name }) {
  const words = name.host || name.appliance_id;
  return name.trouble
    ? html`<span class="bad" title=${name.sentence}>${words}: ${name.trouble}</span>`
    : html`<span class="faint" title=${name.sentence}>${words}</span>`;
}

function Disk({ item }) {
  const quota = sum(item.disks.map((disk) => disk.quota_bytes));
  const used = sum(item.disks.map((disk) => disk.used_bytes));
  const pinned = sum(item.disks.map((disk) => disk.pinned_bytes));
  const sick = item.disks.filter((disk) => !disk.healthy);
  if (quota === 0) return html`<span class="faint">–</span>`;
  return html`
    <${Bar} done=${used} total=${quota} part=${pinned} bad=${sick.length > 0} label="disk" />
    <span class="faint" title="${bytes(pinned)} pinned by the plan, ${count(item.held_files)} files">
      ${bytes(used)} of ${bytes(quota)}
    </span>
    ${sick.map((disk) => html`<br /><span class="bad">${disk.path}: ${disk.reason || "not healthy"}</span>`)}
  `;
}

function Served({ overview, history }) {
  const total = sum(overview.served.map((row) => row.client_bytes));
  return html`
    <section aria-labelledby="served">
      <h2 id="served">Served by source</h2>
      <div class="served">
        <div class="wide">
          <table>
            <thead>
              <tr>
                <th>Source</th>
                <th class="number">Requests</th>
                <th class="number">To players</th>
                <th class="number">Share</th>
                <th class="number">Filled</th>
              </tr>
            </thead>
            <tbody>
              ${overview.served.map(
                (row) => html`
                  <tr key=${row.source}>
                    <td><span class="swatch ${row.source}"></span>${row.source} <span class="faint">${SOURCE_WORDS[row.source]}</span></td>
                    <td class="number">${count(row.client_requests)}</td>
                    <td class="number">${bytes(row.client_bytes)}</td>
                    <td class="number">${share(total ? row.client_bytes / total : null)}</td>
                    <td class="number">${row.fill_bytes ? bytes(row.fill_bytes) : "–"}</td>
                  </tr>
                `,
              )}
            </tbody>
          </table>
        </div>
        <${ServedChart} history=${history} />
      </div>
    </section>
  `;
}

function Explain({ state, act }) {
  const plan = state.overview.plan;
  return html`
    <section aria-labelledby="explain">
      <h2 id="explain">Why is a file where it is?</h2>
      ${!plan && html`<p class="faint">There is no plan yet that could explain it.</p>`}
      <input
        type="search"
        placeholder="Part of a title or file name"
        aria-label="Part of a title or file name"
        value=${state.words}
        onInput=${(event) => act.search(event.target.value)}
      />
      ${state.files && html`<${Files} state=${state} act=${act} />`}
      ${state.explained && html`<${Explanations} explained=${state.explained} sites=${state.overview.sites} />`}
    </section>
  `;
}

function Files({ state, act }) {
  if (state.files.length === 0) return html`<p class="faint">No published file has these words in its name.</p>`;
  const chosen = state.explained?.key;
  return html`
    <ul class="files">
      ${state.files.map(
        (file) => html`
          <li key=${file.key}>
            <button class="quiet ${file.key === chosen ? "chosen" : ""}" onClick=${() => act.explain(file.key)}>
              ${fileName(file.key)} <span class="faint">${bytes(file.size_bytes)}</span>
            </button>
          </li>
        `,
      )}
    </ul>
  `;
}

function Explanations({ explained, sites }) {
  return html`
    <h3>${fileName(explained.key)}</h3>
    <div class="sites">
      ${explained.answers.map(({ site, answer, problem }) => {
        const name = sites.find((item) => item.site.id === site)?.site.name ?? site;
        if (!answer) return html`<article key=${site}><h4>${name}</h4><p class="faint">${problem}</p></article>`;
        return html`<${Explanation} key=${site} name=${name} answer=${answer} />`;
      })}
    </div>
  `;
}

function Explanation({ name, answer }) {
  const paid = answer.filled_bytes ? `${(answer.served_bytes / answer.filled_bytes).toFixed(2)} served per byte filled` : "nothing filled";
  return html`
    <article>
      <h4>${name} <span class="tag ${answer.copies ? "good" : ""}">${answer.reason}</span></h4>
      <p>${answer.sentence}</p>
      <dl class="facts">
        <dt>Forecast</dt>
        <dd>${bytes(answer.forecast_bytes)} a day <span class="faint">${answer.forecast_model}</span></dd>
        <dt>Value</dt>
        <dd>${answer.value.toFixed(2)} <span class="faint">rank ${count(answer.rank)} of ${count(answer.files)}</span></dd>
        <dt>Held by</dt>
        <dd>${answer.appliances.join(", ") || "nobody"}</dd>
        <dt>Filled from</dt>
        <dd>
          ${answer.sources.length === 0 && "–"}
          ${answer.sources.map(
            (source, n) => html`${n > 0 && ", then "}${source.name}${source.after_s > 0 && html` <span class="faint">after ${Math.round(source.after_s)} s</span>`}`,
          )}
        </dd>
        <dt>Since then</dt>
        <dd>${bytes(answer.served_bytes)} served, ${bytes(answer.filled_bytes)} filled <span class="faint">${paid}</span></dd>
      </dl>
    </article>
  `;
}

function SourceBar({ served }) {
  const total = sum(served.map((row) => row.client_bytes));
  const words = served.map((row) => `${row.source} ${bytes(row.client_bytes)}`).join(", ");
  return html`
    <div class="bar sources" role="img" aria-label=${words} title=${words}>
      ${total > 0 &&
      SOURCES.map((name) => {
        const part = served.find((row) => row.source === name)?.client_bytes ?? 0;
        return html`<i class=${name} style=${{ width: `${(part / total) * 100}%` }}></i>`;
      })}
    </div>
  `;
}

function Bar({ done, total, part = 0, bad, label }) {
  const filled = total > 0 ? Math.min(1, done / total) : 0;
  const inner = total > 0 ? Math.min(filled, part / total) : 0;
  return html`
    <div
      class="bar ${bad ? "bad" : ""}"
      role="progressbar"
      aria-label=${label}
      aria-valuemin="0"
      aria-valuemax="100"
      aria-valuenow=${Math.round(filled * 100)}
    >
      <i class="inner" style=${{ width: `${inner * 100}%` }}></i>
      <i style=${{ width: `${(filled - inner) * 100}%` }}></i>
    </div>
  `;
}

function fillWords(fill) {
  if (fill.orders === 0) return "nothing ordered";
  const failed = fill.failed ? `, ${fill.failed} failed` : "";
  return `${fill.done} of ${fill.orders} files, ${bytes(fill.bytes_done)} of ${bytes(fill.bytes_total)}${failed}`;
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
