// The media token in a play's addresses, renewed before it ends, so that playback never meets its end.
//
// Laws: one renewal at a time; nobody waits for it while the token at hand is good, and one that failed is tried again by a
// later request; a token that has ended by this device's clock is used when no other comes soon, because the appliances'
// clocks decide; one that an appliance has refused is not.
const PART = /\/~([^/]+)(?=\/media\/)/;
const EARLY_SHARE = 0.2;
const EARLY_MS = 5 * 60_000;
const PAUSE_MS = 1_000;
const PATIENCE_MS = 3_000;
const TRIES_AFTER_REFUSAL = 10;
const REFUSED = new Set([401, 403, 404]);

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export class MediaToken {
  /** `renew()` gives playback's Renewal, or throws a Failure; `expiresInS` is how long the manifest's token is good. */
  constructor(expiresInS, renew) {
    this.renew = renew;
    this.token = "";
    this.renewing = null;
    this.over = false;
    this.triedAt = -Infinity;
    this.goodFor(expiresInS);
  }

  get isRefused() {
    return this.endsAt === 0;
  }

  goodFor(seconds) {
    const life = seconds * 1000;
    this.endsAt = Date.now() + life; // the wall clock goes on while the device sleeps
    this.early = Math.min(life * EARLY_SHARE, EARLY_MS);
  }

  /** A media address with the token of now; others as they are. */
  put(uri) {
    return this.token ? uri.replace(PART, `/~${this.token}`) : uri;
  }

  /** To be awaited before each request of media. Waits for nothing unless the token has ended. */
  async ready() {
    const left = this.endsAt - Date.now();
    if (left > this.early || this.over) return;
    if (left > 0) {
      if (performance.now() - this.triedAt > PAUSE_MS) this.next();
      return;
    }
    await Promise.race([this.next(), wait(PATIENCE_MS)]);
    for (let tries = 1; tries < TRIES_AFTER_REFUSAL && this.isRefused && !this.over; tries += 1) {
      await wait(PAUSE_MS);
      await Promise.race([this.next(), wait(PATIENCE_MS)]);
    }
  }

  /** An appliance says that the token in this address has ended. */
  ended(uri) {
    const token = PART.exec(uri)?.[1];
    if (!this.token || token === this.token) this.endsAt = 0;
  }

  /** No further renewal: as after a refusal. */
  close() {
    this.over = true;
  }

  next() {
    this.renewing ??= this.ask().finally(() => { this.renewing = null; });
    return this.renewing;
  }

  async ask() {
    this.triedAt = performance.now();
    try {
      const { token, expires_in_s } = await this.renew();
      this.token = token;
      this.goodFor(expires_in_s);
    } catch (failure) {
      this.over ||= REFUSED.has(failure.status);
    }
  }
}

/** What an error of Shaka Player says of the media token: the problem's code when an appliance answered 403, else "". */
export function refusalOf(error, library) {
  if (error.code !== library.util.Error.Code.BAD_HTTP_STATUS || error.data[1] !== 403) return "";
  try {
    return JSON.parse(error.data[2]).type.split("/").pop();
  } catch {
    return "";
  }
}
