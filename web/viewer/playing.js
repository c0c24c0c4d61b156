// A play: session at playback, Shaka Player on its HLS manifest, heartbeats, and what is happening, for those who look.
//
// Not on its DASH manifest: Shaka Player (5.2.12) takes an index for a file of its own when places change while it is fetched (a
// place that fails, an answer of content steering), and then reads every segment from a wrong byte.
import { MediaToken, refusalOf } from "./media_token.js";
import { CMCD_KEYS, Places } from "./places.js";
import { call, deviceId, keepLastWord } from "./services.js";
import { Failure } from "./words.js";

const SHAKA = "/web/vendor/shaka-player/shaka-player.compiled-es2021.js";
const WATCH_MS = 500;
const STARVED_S = 1;
const STOP_WORDS = {
  "another-play-on-this-device": "This went on in another window of this browser.",
  "too-many-streams": "Other devices of your account took all streams of your plan.",
  "expired": "This session has expired.",
  "stopped": "This session was stopped.",
  "revoked": "This session was taken back.",
};

// One that each browser which knows the family decodes.
const FAMILIES = {
  avc1: 'video/mp4; codecs="avc1.4d401f"',
  hvc1: 'video/mp4; codecs="hvc1.1.6.L93.B0"',
  av01: 'video/mp4; codecs="av01.0.04M.08"',
  vp09: 'video/mp4; codecs="vp09.00.31.08"',
  mp4a: 'audio/mp4; codecs="mp4a.40.2"',
  opus: 'audio/mp4; codecs="opus"',
  "ec-3": 'audio/mp4; codecs="ec-3"',
};

/** What this browser can show (contracts.viewing.DeviceLimits); without Media Source it states nothing. */
function deviceLimits() {
  const known = window.MediaSource ?? window.ManagedMediaSource;
  if (!known) return {};
  const codecs = Object.keys(FAMILIES).filter((family) => known.isTypeSupported(FAMILIES[family]));
  return { codecs, hdr: matchMedia("(dynamic-range: high)").matches };
}

let loading = null;

function shaka() {
  loading ??= new Promise((resolve, reject) => {
    const tag = Object.assign(document.createElement("script"), { src: SHAKA });
    tag.onload = () => {
      window.shaka.polyfill.installAll();
      resolve(window.shaka);
    };
    tag.onerror = () => {
      loading = null;
      reject(new Error("The player could not be loaded. Check the connection and try again."));
    };
    document.head.append(tag);
  });
  return loading;
}

export class Playing {
  /** `onFacts(facts)` is told twice a second what is happening, `onStop(words)` when playback cannot go on. */
  constructor(video, { onFacts, onStop }) {
    this.video = video;
    this.onFacts = onFacts;
    this.onStop = onStop;
    this.facts = { host: "", hosts: new Set(), bytes: 0, rebuffers: 0, switches: 0, firstFrameMs: null };
    this.places = new Places();
    this.timers = [];
    this.over = false;
  }

  async start(titleId, profile) {
    this.pressedAt = performance.now();
    const demo_network = profile.settings?.demo_network ?? "";
    const request = { title_id: titleId, profile_id: profile.id, device_id: deviceId(), demo_network, device: deviceLimits() };
    const [library, session] = await Promise.all([shaka(), call("playback", "POST", "/v1/play", request)]);
    this.session = session;
    this.token = new MediaToken(session.expires_in_s, () => call("playback", "POST", session.renew_url));
    if (this.over) return this.say("stop");
    if (!library.Player.isBrowserSupported()) throw new Error("This browser cannot play this kind of video.");
    this.player = new library.Player();
    await this.player.attach(this.video);
    this.configure();
    this.listen(library);
    await this.player.load(session.hls_url, session.position_s).catch((error) => {
      throw new Failure("player", wordsOf(error, library));
    });
    if (this.over) return undefined;
    this.timers.push(setInterval(() => this.look(), WATCH_MS));
    this.timers.push(setInterval(() => this.say(this.video.paused ? "pause" : "beat"), session.heartbeat_interval_s * 1000));
    this.say("start");
    return this.video.play().catch(() => {}); // the browser wants a click first: the controls are there
  }

  configure() {
    const retryParameters = { maxAttempts: 6, baseDelay: 100, backoffFactor: 1.6, timeout: 15_000, stallTimeout: 4_000, connectionTimeout: 3_000 };
    this.player.configure({
      streaming: { bufferingGoal: 24, rebufferingGoal: 1, bufferBehind: 30, retryParameters },
      manifest: { retryParameters },
      abr: { enabled: true, defaultBandwidthEstimate: 4_000_000 },
      cmcd: { enabled: true, sessionId: this.session.session_id, includeKeys: CMCD_KEYS },
    });
  }

  listen(library) {
    const segment = library.net.NetworkingEngine.RequestType.SEGMENT;
    const networking = this.player.getNetworkingEngine();
    networking.registerRequestFilter(async (_type, request) => {
      await this.token.ready();
      request.uris = this.places.all(request.uris).map((uri) => this.token.put(uri));
    });
    networking.addEventListener("retry", (event) => this.refused(event, library));
    networking.registerResponseFilter((type, response, context) => {
      if (type !== segment) return;
      if (context?.stream?.type === "video") this.rendition = renditionAt(response.uri);
      this.facts.host = new URL(response.uri).host;
      this.facts.hosts.add(this.facts.host);
      this.facts.bytes += response.data.byteLength;
    });
    this.player.addEventListener("adaptation", () => { this.facts.switches += 1; });
    this.player.addEventListener("error", ({ detail }) => this.stop(wordsOf(detail, library)));
    this.video.addEventListener("waiting", () => {
      const isStarved = this.bufferS() < STARVED_S; // a busy device waits with a full buffer, too
      if (this.facts.firstFrameMs !== null && !this.video.seeking && isStarved) this.facts.rebuffers += 1;
    });
    this.video.addEventListener("playing", () => {
      this.facts.firstFrameMs ??= Math.round(performance.now() - this.pressedAt);
    });
    this.video.addEventListener("pause", () => this.say("pause"));
    this.leaving = () => this.say("stop");
    addEventListener("pagehide", this.leaving);
  }

  /** The next attempt passes the request filter again, which waits for another token when this one has ended. */
  refused(event, library) {
    const reason = refusalOf(event.error, library);
    if (reason === "media-token-expired" && !this.token.over) return this.token.ended(event.error.data[0]);
    const words = { "media-token-expired": STOP_WORDS.expired, "media-token-revoked": STOP_WORDS.revoked }[reason];
    if (!words) return undefined; // another place may answer
    event.preventDefault();
    return this.stop(words);
  }

  look() {
    const track = this.player.getVariantTracks().find((one) => one.active);
    const stats = this.player.getStats();
    this.onFacts({
      ...this.facts,
      hosts: [...this.facts.hosts],
      rendition: this.rendition ?? "",
      height: track?.height ?? 0,
      bps: track?.bandwidth ?? 0,
      estimateBps: stats.estimatedBandwidth || 0,
      bufferS: this.bufferS(),
      dropped: stats.droppedFrames || 0,
    });
  }

  bufferS() {
    const { buffered, currentTime } = this.video;
    for (let part = 0; part < buffered.length; part += 1) {
      if (buffered.start(part) <= currentTime + 0.1 && currentTime <= buffered.end(part)) return buffered.end(part) - currentTime;
    }
    return 0;
  }

  /** A heartbeat. One that is lost does no harm: the next one says more. */
  async say(event) {
    if (!this.session || this.told) return;
    if (event === "stop") this.told = true;
    const body = JSON.stringify({
      event,
      position_s: this.video.currentTime || this.session.position_s,
      rendition: this.rendition ?? "",
      rebuffers: this.facts.rebuffers,
      bytes: this.facts.bytes,
    });
    try {
      const headers = { "Content-Type": "application/json" };
      const answer = await fetch(this.session.heartbeat_url, { method: "POST", headers, body, keepalive: true });
      const said = answer.ok ? await answer.json() : { go_on: true };
      if (!said.go_on && event !== "stop") this.stop(STOP_WORDS[said.reason] ?? said.reason);
    } catch {
      // The network is away; playback goes on from the buffer and other appliances.
    }
  }

  stop(words) {
    if (this.over) return;
    this.video.pause();
    this.onStop(words);
    this.close();
  }

  async close() {
    if (this.over) return;
    this.over = true;
    this.token?.close();
    this.timers.forEach(clearInterval);
    removeEventListener("pagehide", this.leaving);
    keepLastWord(this.say("stop"));
    await this.player?.destroy();
  }
}

/** Media files are named after their renditions. */
function renditionAt(uri) {
  return new URL(uri).pathname.split("/").pop().replace(/\.[^.]*$/, "");
}

function wordsOf(error, library) {
  const { Category } = library.util.Error;
  if (error.category === Category.NETWORK) return "No place that has this title answers any more. Check the connection and try again.";
  if (error.category === Category.MEDIA || error.category === Category.MANIFEST) return `This title cannot be decoded here (error ${error.code}).`;
  return `Playback failed (error ${error.code}).`;
}
