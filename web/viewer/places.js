// The places that have a play's files: every one that was ever named is tried before a play gives up.
//
// Shaka Player (5.2.12) leaves a place alone for a minute when a request there failed; with all of them left alone it asks the
// manifest's first one, and nobody else. A network that was away for some seconds must not end a play, so those that it leaves
// out stand behind those that it chose.
const MEDIA = /^(.+?)(\/~[^/]+\/media\/.*)$/;

/** Of CMCD (CTA-5004) all keys of a request but `nor`. Shaka Player names another object next only when the places of the two
 *  differ, and then by the other place's address; it also takes a place for failed whose host stands anywhere in an address that
 *  failed. `nrr` alone is the next range of the same file, which is what it will ask for. */
export const CMCD_KEYS = ["br", "bl", "bs", "cid", "d", "dl", "mtp", "nrr", "ot", "pr", "rtp", "sf", "sid", "st", "su", "tb"];

export class Places {
  constructor() {
    this.known = new Set();
  }

  /** The addresses of one file, and behind them the same file at every other place that was met. */
  all(uris) {
    const parts = uris.map((uri) => MEDIA.exec(uri));
    if (parts.length === 0 || parts.includes(null)) return uris;
    const here = new Set(parts.map(([, place]) => place));
    here.forEach((place) => this.known.add(place));
    return [...uris, ...[...this.known].filter((place) => !here.has(place)).map((place) => place + parts[0][2])];
  }
}
