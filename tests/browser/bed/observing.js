// Writes down what a page's video shows and what the page asks appliances for. It works on any page, also on one that knows
// nothing of it. All instants are milliseconds of the page's clock; the rows are those of observations.py.
(() => {
  if (window.observed) return;
  const answers = [];
  const frames = [];
  const events = [];
  const samples = [];
  const marks = [];
  const watched = new WeakSet();
  const SAMPLE_MS = 250;
  const TOLD = ["waiting", "playing", "seeking", "seeked", "pause", "ended"];

  function watch(video) {
    if (watched.has(video)) return;
    watched.add(video);
    const look = (now, { mediaTime, height }) => {
      frames.push([now, mediaTime, height]);
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
    for (const kind of TOLD) video.addEventListener(kind, () => events.push([performance.now(), kind, video.currentTime]));
  }

  function ahead({ buffered, currentTime }) {
    for (let part = 0; part < buffered.length; part += 1) {
      if (buffered.start(part) <= currentTime + 0.1 && currentTime <= buffered.end(part)) return buffered.end(part) - currentTime;
    }
    return 0;
  }

  function seek() {
    const video = document.querySelector("video");
    if (video) watch(video);
    return video;
  }

  new PerformanceObserver((list) => {
    for (const { name, startTime, responseEnd, responseStatus, encodedBodySize } of list.getEntries()) {
      const { host, pathname, searchParams } = new URL(name);
      if (!pathname.includes("/media/")) continue;
      const file = pathname.split("/").pop();
      answers.push([startTime, responseEnd, responseStatus, host, file, searchParams.has("CMCD"), encodedBodySize]);
    }
  }).observe({ type: "resource", buffered: true });
  new MutationObserver(seek).observe(document, { childList: true, subtree: true });
  setInterval(() => {
    const video = seek();
    if (video) samples.push([performance.now(), video.currentTime, ahead(video)]);
  }, SAMPLE_MS);

  window.observed = {
    answers, frames, events, samples, marks,
    mark(what) { marks.push([performance.now(), what]); },
    everything() {
      return { clock_began_s: performance.timeOrigin / 1000, ended_ms: performance.now(), answers, frames, events, samples, marks };
    },
  };
})();
