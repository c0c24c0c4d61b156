// How three players play a manifest, leave an appliance that is gone, and go on when their media token ends: docs/players.md
// shows these lines. The libraries are globals (shaka, Hls, dashjs). `more` is further configuration in the player's own words.

export async function playWithShaka(video, manifest, more = {}) {
  const player = new shaka.Player();
  await player.attach(video);
  const retryParameters = { maxAttempts: 6, baseDelay: 100, backoffFactor: 1.6, connectionTimeout: 3_000, stallTimeout: 4_000, timeout: 15_000 };
  player.configure({ streaming: { bufferingGoal: 24, retryParameters }, manifest: { retryParameters } });
  const includeKeys = ["br", "bl", "bs", "cid", "d", "dl", "mtp", "nrr", "ot", "pr", "rtp", "sf", "sid", "st", "su", "tb"]; // all but nor: docs/players.md says why
  player.configure({ cmcd: { enabled: true, includeKeys }, ...more });
  let again = null;
  async function resume(at, playing) {
    await player.load(manifest, at);
    if (playing) video.play();
    again = null;
  }
  player.getNetworkingEngine().addEventListener("retry", (event) => {
    if (event.error.data[1] !== 403) return;
    event.preventDefault();
    again ??= resume(video.currentTime, !video.paused);
  });
  await player.load(manifest);
  return player;
}

export function playWithHls(video, manifest, more = {}, position = -1) {
  const retry = { maxNumRetry: 1, retryDelayMs: 200, maxRetryDelayMs: 200 };
  const soon = { default: { maxTimeToFirstByteMs: 4_000, maxLoadTimeMs: 15_000, timeoutRetry: null, errorRetry: retry } };
  const player = new Hls({ cmcd: {}, maxBufferLength: 24, fragLoadPolicy: soon, playlistLoadPolicy: soon, ...more, startPosition: position });
  player.on(Hls.Events.ERROR, (_event, { response }) => {
    if (response?.code !== 403) return;
    const [at, playing] = [video.currentTime, !video.paused];
    player.destroy();
    playWithHls(video, manifest, more, at);
    if (playing) video.play();
  });
  player.loadSource(manifest);
  player.attachMedia(video);
  return player;
}

export function playWithDash(video, manifest, more = {}) {
  const player = dashjs.MediaPlayer().create();
  const [attempts, pause] = [1, 200].map((value) => ({ MediaSegment: value, InitializationSegment: value, IndexSegment: value }));
  player.updateSettings({
    streaming: {
      cmcd: { enabled: true }, buffer: { bufferTimeDefault: 24, bufferTimeAtTopQuality: 24 },
      retryAttempts: attempts, retryIntervals: pause, fragmentRequestTimeout: 8_000, blacklistExpiryTime: 60,
      cacheLoadThresholds: { video: 0, audio: 0 },
    },
  });
  player.updateSettings(more);
  player.addResponseInterceptor(async (response) => {
    if (response.status === 403) {
      player.setAutoPlay(!video.paused);
      player.attachSource(manifest, video.currentTime);
    }
    return response;
  });
  player.initialize(video, manifest, true);
  return player;
}
