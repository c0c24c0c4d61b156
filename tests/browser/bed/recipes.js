// How three players play a manifest and go on when its media token ends: docs/players.md shows these lines.
// The libraries are globals (shaka, Hls, dashjs). `more` is further configuration in the player's own words.

export async function playWithShaka(video, manifest, more = {}) {
  const player = new shaka.Player();
  await player.attach(video);
  player.configure({ cmcd: { enabled: true }, ...more });
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
  const player = new Hls({ cmcd: {}, ...more, startPosition: position });
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
  player.updateSettings({ streaming: { cmcd: { enabled: true } } });
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
