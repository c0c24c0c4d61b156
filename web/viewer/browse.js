// Home, search and a title's page.
import { Picture, Shelf, Trouble } from "./cards.js";
import { afterLastWord, ask, call } from "./services.js";
import { Component, html } from "./ui.js";
import { clock, languageName, listed, minutes } from "./words.js";

const DEGRADED = {
  catalog: "The catalog does not answer right now: this is what we knew last.",
  "playback-positions": "Where you left off is not known right now.",
  "playback-popularity": "What others watch is not known right now.",
};

/** Loads something for the properties it was given; what comes late for older properties is dropped. */
export class Loading extends Component {
  constructor(props) {
    super(props);
    this.state = { found: null, failure: null };
    this.turn = 0;
  }

  componentDidMount() { this.load(); }

  componentWillUnmount() { this.turn += 1; }

  componentDidUpdate(before) {
    if (this.keyOf(before) !== this.keyOf(this.props)) this.load();
  }

  async load() {
    const turn = (this.turn += 1);
    this.setState({ failure: null });
    try {
      const found = await this.fetch(this.props);
      if (turn === this.turn) this.setState({ found });
    } catch (failure) {
      if (turn === this.turn) this.setState({ failure });
    }
  }

  render(props, { found, failure }) {
    if (failure) return html`<main><${Trouble} failure=${failure} again=${() => this.load()} /></main>`;
    if (!found) return html`<main aria-busy="true"><p class="quiet waiting">Loading …</p></main>`;
    return this.show(found, props);
  }
}

export class Home extends Loading {
  keyOf(props) { return props.profile.id; }

  async fetch({ profile }) {
    await afterLastWord();
    return call("recommendation", "GET", `/v1/home?profile_id=${encodeURIComponent(profile.id)}`);
  }

  show({ rows, degraded = [] }) {
    return html`
      <main class="home">
        <h1 class="hidden">Home</h1>
        ${degraded.map((name) => html`<p class="hint" role="status" key=${name}>${DEGRADED[name] ?? name}</p>`)}
        ${rows.map((row, place) => html`
          <${Shelf} key=${row.heading} id=${`row-${place}`} heading=${row.heading} titles=${row.titles}
            positions=${row.positions} />`)}
        ${!rows.length && html`
          <div class="empty">
            <h2>Nothing to watch yet</h2>
            <p class="quiet">Titles show up here as soon as they are published in your region.</p>
          </div>`}
      </main>`;
  }
}

export class Search extends Loading {
  keyOf(props) { return `${props.region} ${props.text}`; }

  async fetch({ region, text }) {
    if (!text.trim()) return { titles: [] };
    return ask("catalog", `/v1/search?region=${region}&q=${encodeURIComponent(text.slice(0, 200))}`);
  }

  show({ titles }, { text }) {
    const heading = titles.length ? `Found for “${text}”` : `Nothing found for “${text}”`;
    return html`
      <main class="search">
        <h1 aria-live="polite">${text.trim() ? heading : "Search by title, genre or name"}</h1>
        <${Shelf} id="found" heading="" titles=${titles} />
      </main>`;
  }
}

export class TitlePage extends Loading {
  keyOf(props) { return `${props.titleId} ${props.profile.id}`; }

  async fetch({ titleId, region, profile }) {
    await afterLastWord();
    const [details, known] = await Promise.all([
      ask("catalog", `/v1/titles/${encodeURIComponent(titleId)}?region=${region}`),
      call("playback", "GET", `/v1/profiles/${profile.id}/positions`).catch(() => ({ positions: [] })),
    ]);
    return { details, position: known.positions.find((one) => one.title_id === titleId) };
  }

  show({ details, position }) {
    const { facts, renditions, duration_s } = details;
    const heights = [...new Set(renditions.map((one) => one.height).filter(Boolean))].sort((a, b) => a - b);
    const languages = [...new Set(renditions.filter((one) => one.kind === "audio").map((one) => languageName(one.language)))];
    const going = position && !position.finished && position.position_s > 1;
    const line = [facts.year || "", minutes(duration_s), facts.maturity !== "all" ? `from ${facts.maturity}` : ""];
    return html`
      <main class="title">
        <${Picture} title=${{ id: facts.id, name: facts.name, genres: facts.genres }} large />
        <article>
          <h1>${facts.name}</h1>
          <p class="quiet">${line.filter(Boolean).join(" · ")}</p>
          <p class="actions">
            <a class="button main" href=${`#/play/${facts.id}`}>
              ${going ? `Resume at ${clock(position.position_s)}` : "Play"}
            </a>
          </p>
          ${going && html`
            <progress class="share" max=${duration_s} value=${position.position_s}
              aria-label=${`${clock(position.position_s)} of ${clock(duration_s)} watched`}></progress>`}
          ${facts.synopsis && html`<p class="synopsis">${facts.synopsis}</p>`}
          <dl>
            ${facts.genres.length > 0 && html`<dt>Genres</dt><dd>${listed(facts.genres)}</dd>`}
            ${facts.cast.length > 0 && html`<dt>With</dt><dd>${facts.cast.join(", ")}</dd>`}
            ${languages.filter(Boolean).length > 0 && html`<dt>Sound</dt><dd>${languages.filter(Boolean).join(", ")}</dd>`}
            <dt>Picture</dt><dd>${heights.map((height) => `${height}p`).join(", ")}</dd>
          </dl>
        </article>
      </main>`;
  }
}
