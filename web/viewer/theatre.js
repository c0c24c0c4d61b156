// The player's page: picture, native controls, and a panel that says where the bytes come from.
import { Trouble } from "./cards.js";
import { Playing } from "./playing.js";
import { ask } from "./services.js";
import { Component, createRef, html } from "./ui.js";

const PANEL = "lowtide.panel";
const mbps = (bps) => (bps ? `${(bps / 1e6).toFixed(bps < 1e7 ? 2 : 0)} Mbit/s` : "–");

export class Theatre extends Component {
  constructor(props) {
    super(props);
    this.video = createRef();
    this.state = { facts: null, failure: null, name: "", panel: localStorage.getItem(PANEL) !== "closed" };
  }

  componentDidMount() {
    this.video.current.focus({ preventScroll: true });
    this.begin();
    const { titleId, region } = this.props;
    ask("catalog", `/v1/titles/${encodeURIComponent(titleId)}?region=${region}`)
      .then(({ facts }) => { this.setState({ name: facts.name }); document.title = `${facts.name} – Lowtide`; })
      .catch(() => {}); // the name is an ornament here: playing needs playback only
  }

  componentWillUnmount() {
    document.title = "Lowtide";
    this.playing?.close();
  }

  async begin() {
    this.setState({ failure: null });
    this.playing?.close();
    const playing = new Playing(this.video.current, {
      onFacts: (facts) => this.setState({ facts }),
      onStop: (message) => this.setState({ failure: { message, lines: [] } }),
    });
    this.playing = playing;
    try {
      await playing.start(this.props.titleId, this.props.profile);
    } catch (failure) {
      playing.close();
      this.setState({ failure: { message: failure.message, lines: failure.lines ?? [] } });
    }
  }

  toggle() {
    const panel = !this.state.panel;
    localStorage.setItem(PANEL, panel ? "open" : "closed");
    this.setState({ panel });
  }

  render({ titleId }, { facts, failure, name, panel }) {
    return html`
      <main class="theatre">
        <header>
          <a class="back" href=${`#/title/${titleId}`}><span aria-hidden="true">←</span> Back</a>
          <h1>${name}</h1>
          <button class="plain" aria-expanded=${panel} aria-controls="facts" onClick=${() => this.toggle()}>
            ${panel ? "Hide delivery" : "Show delivery"}
          </button>
        </header>
        <div class="stage">
          <video ref=${this.video} controls autoplay playsinline tabindex="0" aria-label=${name || "Video"}></video>
          ${failure && html`<div class="curtain"><${Trouble} failure=${failure} again=${() => this.begin()} /></div>`}
        </div>
        ${panel && html`<${Facts} facts=${facts} />`}
      </main>`;
  }
}

function Facts({ facts }) {
  const rows = facts
    ? [
        ["Appliance", facts.host || "–"],
        ["Rendition", facts.height ? `${facts.height}p, ${mbps(facts.bps)}` : "–"],
        ["Buffer", `${facts.bufferS.toFixed(1)} s`],
        ["Throughput", mbps(facts.estimateBps)],
        ["First frame", facts.firstFrameMs === null ? "–" : `${facts.firstFrameMs} ms`],
        ["Received", `${(facts.bytes / 1e6).toFixed(1)} MB`],
        ["Stalls", String(facts.rebuffers)],
        ["Switches", String(facts.switches)],
        ["Places used", facts.hosts.join(", ") || "–"],
      ]
    : [["Appliance", "asking …"]];
  return html`
    <dl id="facts" class="facts" aria-label="Delivery">
      ${rows.map(([word, value]) => html`<div key=${word}><dt>${word}</dt><dd>${value}</dd></div>`)}
    </dl>`;
}
