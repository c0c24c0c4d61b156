// The page of plays: who was sent where, and why. Functions of the state; nothing here asks the network.

import { Component, h } from "../vendor/preact/preact.mjs";
import htm from "../vendor/htm/htm.mjs";
import { CAUSE_WORDS } from "./missing.js";
import { count, share } from "./words.js";

const html = htm.bind(h);
const BACK = [
  ["1", "the last hour"],
  ["6", "the last 6 hours"],
  ["24", "the last day"],
];

export function Plays({ plays, act }) {
  return html`
    <section aria-labelledby="plays">
      <h2 id="plays">Plays</h2>
      <${Search} query=${plays.query} busy=${plays.busy} act=${act} />
      ${plays.problem && html`<p class="bad" role="alert">${plays.problem}</p>`}
      ${plays.list && html`<${Found} plays=${plays} act=${act} />`}
    </section>
    ${plays.told && html`<${Told} key=${plays.session} session=${plays.session} told=${plays.told} />`}
  `;
}

function Search({ query, busy, act }) {
  const find = (event) => {
    event.preventDefault();
    act.findPlays(Object.fromEntries(new FormData(event.target)));
  };
  return html`
    <form class="asking" onSubmit=${find}>
      <label>Session<input name="play" defaultValue=${query.play} placeholder="s-…" spellcheck="false" /></label>
      <label>Address<input name="client" defaultValue=${query.client} placeholder="of a player" spellcheck="false" /></label>
      <label>Title<input name="title" defaultValue=${query.title} placeholder="its id" spellcheck="false" /></label>
      <label>
        Within
        <select name="hours">
          ${BACK.map(([hours, words]) => html`<option value=${hours} selected=${hours === query.hours}>${words}</option>`)}
        </select>
      </label>
      <button type="submit" disabled=${busy}>${busy ? "Searching …" : "Find"}</button>
    </form>
    <p class="faint">An address is cut as the log cuts it: everybody of its network is found. An empty field asks nothing.</p>
  `;
}

function Found({ plays, act }) {
  const { list, session } = plays;
  const more = list.whole ? "" : " There may be older ones.";
  return html`
    ${(list.silent ?? []).map((words) => html`<p class="bad" role="alert">Not asked or not answering: ${words}</p>`)}
    ${list.unread > 0 && html`<p class="bad" role="alert">${count(list.unread)} lines of the log are of a newer format or broken and are left out.</p>`}
    <p class="faint" role="status">
      ${count(list.plays.length)} ${list.plays.length === 1 ? "decision" : "decisions"}, the newest first.${more}
    </p>
    ${list.plays.length > 0 &&
    html`<div class="wide">
      <table class="rows">
        <thead>
          <tr>
            <th>Time</th>
            <th>Session</th>
            <th>Network</th>
            <th>Site</th>
            <th>Title</th>
            <th>First choices</th>
            <th>They come to</th>
            <th></th>
          </tr>
        </thead>
        <tbody>
          ${list.plays.map((play) => html`<${PlayRow} play=${play} chosen=${play.play && play.play === session} act=${act} />`)}
        </tbody>
      </table>
    </div>`}
  `;
}

function PlayRow({ play, chosen, act }) {
  return html`
    <tr>
      <td title=${play.time}>${local(play.time)}${play.steered && html`<br /><span class="tag">moved: ${play.steered}</span>`}</td>
      <td><code>${play.play || "–"}</code></td>
      <td>${play.client}<br /><span class="faint">${play.prefix || "no prefix"}</span></td>
      <td>${play.site || "nobody's"}</td>
      <td>${play.title || "–"}</td>
      <td>${counted(play.first)}</td>
      <td>${Object.entries(play.meant).map(([cause, n]) => html`<span class="tag ${cause}">${CAUSE_WORDS[cause] ?? cause} ${n}</span> `)}</td>
      <td>
        ${play.play &&
        html`<button class=${chosen ? "quiet chosen" : "quiet"} onClick=${() => act.whyPlay(play.play)}>Why?</button>`}
      </td>
    </tr>
  `;
}

class Told extends Component {
  componentDidMount() {
    document.getElementById("told").scrollIntoView();
  }

  render({ session, told }) {
    return html`
      <section aria-labelledby="told" class="told">
        <h2 id="told">Why ${session} went where it went</h2>
        ${(told.silent ?? []).map((words) => html`<p class="bad" role="alert">Not asked or not answering: ${words}</p>`)}
        ${told.told.length === 0 && html`<p class="faint">Nobody who answered knows it.</p>`}
        ${told.told.map((one, n) => html`<${Decision} one=${one} n=${n} of=${told.told.length} />`)}
      </section>
    `;
  }
}

function Decision({ one, n, of }) {
  const { decision } = one;
  const where = decision.site ? `Clients of ${decision.prefix} are of site ${decision.site}.` : "No site announces this network.";
  return html`
    <article>
      <h3>
        ${of > 1 ? `Decision ${n + 1} of ${of}, ` : ""}${local(decision.time)}
        ${" "}<span class="faint">world ${decision.world}, client ${decision.client}</span>
      </h3>
      ${(one.moves ?? []).map((move) => html`<p>${move.sentence} <span class="faint">Its player was given ${move.course.join(", ")}.</span></p>`)}
      <p>${where}</p>
      ${alike(one.sentences).map(
        ({ groups, sentences }) => html`
          <h4>${groups.join(", ")}</h4>
          <ol class="sentences">${sentences.map((sentence) => html`<li>${sentence}</li>`)}</ol>
        `,
      )}
      <${Boxes} boxes=${Object.values(decision.boxes ?? {}).flat()} />
    </article>
  `;
}

// An appliance is a list: id, problem, load, score, ramp, crowded, full.
function Boxes({ boxes }) {
  if (boxes.length === 0) return null;
  return html`
    <div class="wide">
      <table class="rows">
        <caption class="faint">The site's appliances as they were believed then</caption>
        <thead>
          <tr>
            <th>Appliance</th>
            <th class="number">Load</th>
            <th class="number">Score</th>
            <th>Candidate</th>
          </tr>
        </thead>
        <tbody>
          ${boxes.map(
            ([id, problem, load, score, ramp = 1, crowded = false, full = false]) => html`
              <tr>
                <td><b>${id}</b></td>
                <td class="number">${share(load, 0)}</td>
                <td class="number">${score.toFixed(2)}</td>
                <td>
                  <span class="level"><span class="dot ${problem ? "bad" : full || crowded || ramp < 1 ? "warn" : "good"}"></span>
                  ${standing(problem, ramp, crowded, full)}</span>
                </td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

function standing(problem, ramp, crowded, full) {
  if (problem) return `no: ${problem}`;
  const words = [];
  if (full) words.push("nearly full");
  if (crowded) words.push("over its cluster's bound");
  if (ramp < 1) words.push(`back not long ago, counts for ${share(ramp, 0)}`);
  return words.length ? `yes, ${words.join(", ")}` : "yes";
}

/** Groups that are explained in the same words, once. */
export function alike(sentences) {
  const found = new Map();
  for (const [group, lines] of Object.entries(sentences)) {
    const words = lines.join("\n");
    const known = found.get(words);
    if (known) known.groups.push(group);
    else found.set(words, { groups: [group], sentences: lines });
  }
  return [...found.values()];
}

const counted = (counts) =>
  Object.entries(counts)
    .map(([name, n]) => `${name} ${n}`)
    .join(", ");

const local = (time) => new Date(time).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
