// A stage for real players: what they request and what they show is written down for the tests.
import { playWithDash, playWithHls, playWithShaka } from "./recipes.js";

const PLAY = { "shaka": playWithShaka, "hls.js": playWithHls, "dash.js": playWithDash };
const video = document.querySelector("video");

/** Answers with media: [asked, answered, status, host, file, whether it was asked with CMCD in the query], times in milliseconds of the page. */
const answers = [];
/** Shown pictures: [shown, position in seconds, height]. */
const frames = [];

function look(now, { mediaTime, height }) {
  frames.push([now, mediaTime, height]);
  video.requestVideoFrameCallback(look);
}

video.requestVideoFrameCallback(look);
new PerformanceObserver((list) => {
  for (const { name, startTime, responseEnd, responseStatus } of list.getEntries()) {
    const { host, pathname, searchParams } = new URL(name);
    if (pathname.includes("/media/")) {
      answers.push([startTime, responseEnd, responseStatus, host, pathname.split("/").pop(), searchParams.has("CMCD")]);
    }
  }
}).observe({ type: "resource", buffered: true });

window.bed = {
  video, answers, frames,
  /** `then` is done with the player as soon as there is one. */
  async play(name, manifest, more, then) {
    this.player = await PLAY[name](video, manifest, more);
    new Function("player", then)(this.player);
    await video.play();
  },
};
