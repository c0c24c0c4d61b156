// A stage for real players: what they request and what they show is written down by observing.js.
import { playWithDash, playWithHls, playWithShaka } from "./recipes.js";

const PLAY = { "shaka": playWithShaka, "hls.js": playWithHls, "dash.js": playWithDash };
/** dash.js's codes for media and init segments that one place did not give; it has no word for whether others are left. */
const ONE_PLACE = [27, 28];
/** Where each says that it gives up: `tell` hears its words. */
const GIVES_UP = {
  "shaka": (player, tell) => player.addEventListener("error", ({ detail }) => tell(`${detail.code} ${detail.message ?? ""}`)),
  "hls.js": (player, tell) => player.on(Hls.Events.ERROR, (_event, { fatal, details }) => { if (fatal) tell(details); }),
  "dash.js": (player, tell) => player.on("error", ({ error: { code, message } }) => { if (!ONE_PLACE.includes(code)) tell(`${code} ${message}`); }),
};
const video = document.querySelector("video");

window.bed = {
  video,
  answers: observed.answers,
  frames: observed.frames,
  failures: [],
  /** `then` is done with the player as soon as there is one. */
  async play(name, manifest, more, then) {
    observed.mark("press");
    this.player = await PLAY[name](video, manifest, more);
    GIVES_UP[name](this.player, (words) => this.failures.push(words));
    new Function("player", then)(this.player);
    if (name !== "dash.js") await video.play(); // dash.js plays by itself: a play before its manifest is there is one without steering
  },
};
