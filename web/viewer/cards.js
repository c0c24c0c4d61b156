// Titles as typographic cards: a picture drawn from the title itself, always the same for the same title.
import { listed, minutes } from "./words.js";
import { html } from "./ui.js";

const HUES = [186, 200, 168, 214, 28, 348, 44, 262];

/** FNV-1a, then mixed so that the low bits, which choose the hue, hang on every letter alike. */
function numberOf(text) {
  let number = 2166136261;
  for (const letter of text) number = Math.imul(number ^ letter.codePointAt(0), 16777619);
  number = Math.imul(number ^ (number >>> 16), 0x85ebca6b);
  number = Math.imul(number ^ (number >>> 13), 0xc2b2ae35);
  return (number ^ (number >>> 16)) >>> 0;
}

/** Custom properties that a card's style sheet draws sky and tide lines from. */
export function toneOf(id) {
  const number = numberOf(id);
  return {
    "--hue": HUES[number % HUES.length],
    "--lean": `${(number >>> 4) % 17 - 8}deg`,
    "--line": `${11 + (number >>> 9) % 9}px`,
    "--level": `${46 + (number >>> 13) % 26}%`,
  };
}

export function Picture({ title, large }) {
  const size = title.name.length > 28 ? "long" : title.name.length > 14 ? "middle" : "short";
  return html`
    <div class=${`picture ${large ? "large" : ""}`} style=${toneOf(title.id)} aria-hidden="true">
      <span class=${`picture-name ${size}`}>${title.name}</span>
      ${title.genres[0] && html`<span class="picture-genre">${title.genres[0]}</span>`}
    </div>`;
}

export function Card({ title, share }) {
  const facts = [title.year || "", minutes(title.duration_s), listed(title.genres.slice(0, 2))].filter(Boolean);
  return html`
    <li class="card">
      <a href=${`#/title/${title.id}`}>
        <${Picture} title=${title} />
        ${share !== undefined && html`
          <progress class="share" max="1" value=${share} aria-label=${`${Math.round(share * 100)} % watched`}></progress>`}
        <span class="card-name">${title.name}</span>
        <span class="quiet">${facts.join(" · ")}</span>
      </a>
    </li>`;
}

export function Shelf({ id, heading, titles, positions = {} }) {
  return html`
    <section aria-labelledby=${id}>
      <h2 id=${id}>${heading}</h2>
      <ul class="shelf">
        ${titles.map((title) => html`<${Card} key=${title.id} title=${title} share=${positions[title.id]} />`)}
      </ul>
    </section>`;
}

export function Trouble({ failure, again }) {
  return html`
    <div class="notice" role="alert">
      <p>${failure.message}</p>
      ${failure.lines?.length > 0 && html`<ul>${failure.lines.map((line) => html`<li>${line}</li>`)}</ul>`}
      ${again && html`<button onClick=${again}>Try again</button>`}
    </div>`;
}
