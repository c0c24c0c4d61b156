// Problems (RFC 9457) and failures in words that a viewer can act on.

const WORDS = {
  "wrong-password": "The e-mail address or the password is wrong.",
  "unauthenticated": "You are signed out. Please log in again.",
  "token-expired": "You are signed out. Please log in again.",
  "not-in-region": "This title is not available where you are.",
  "not-entitled": "Your plan does not include this title.",
  "device-unsupported": "This browser cannot show this title.",
  "forbidden": "This profile belongs to another account.",
  "not-found": "This is not here any more.",
  "unavailable": "This cannot be answered right now. Try again in a moment.",
  "upstream-failed": "A part of the service does not answer. Try again in a moment.",
  "upstream-timeout": "A part of the service does not answer. Try again in a moment.",
  "internal": "Something failed on our side.",
};

/** A refusal or a failure: `code` is the problem's, or "unreachable"; `lines` name what is wrong, one each. */
export class Failure extends Error {
  constructor(code, message, lines = [], status = 0) {
    super(message);
    this.code = code;
    this.lines = lines;
    this.status = status;
  }
}

export function unreachable(name) {
  return new Failure("unreachable", `The ${name} service cannot be reached. Check the connection and try again.`);
}

export async function failureOf(answer) {
  let problem = {};
  try {
    problem = await answer.json();
  } catch {
    problem = { title: `The service answered ${answer.status}.` };
  }
  const code = (problem.type ?? "").split("/").pop();
  const said = [problem.title, problem.detail].filter(Boolean).join(": ");
  return new Failure(code, WORDS[code] ?? said, (problem.errors ?? []).map(plain), answer.status);
}

/** "profile_name: is empty" → "Profile name is empty". */
function plain(line) {
  const [field, ...rest] = line.split(": ");
  if (!rest.length || !/^[a-z_.]+$/.test(field)) return line;
  const name = field.split(".").pop().replaceAll("_", " ");
  return `${name[0].toUpperCase()}${name.slice(1)}: ${rest.join(": ")}`;
}

/** ["drama", "sea"] → "Drama, sea". */
export function listed(names) {
  const text = names.join(", ");
  return text && text[0].toUpperCase() + text.slice(1);
}

export function minutes(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds / 60);
  return whole < 60 ? `${whole} min` : `${Math.floor(whole / 60)} h ${whole % 60} min`;
}

/** 3725 → "1:02:05". */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, place) => (place ? String(part).padStart(2, "0") : String(part))).join(":");
}

const LANGUAGES = new Intl.DisplayNames(["en"], { type: "language" });
const REGIONS = new Intl.DisplayNames(["en"], { type: "region" });

export function languageName(tag) {
  try {
    return tag && tag !== "und" ? LANGUAGES.of(tag) : "";
  } catch {
    return tag;
  }
}

export function regionName(code) {
  try {
    return REGIONS.of(code);
  } catch {
    return code;
  }
}
