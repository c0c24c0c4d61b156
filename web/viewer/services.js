// The services behind the page: where they are, who is logged in, and calls that renew the access token by themselves.
//
// The refresh token is in local storage, works once, and is shared by all tabs: renewing is done under a lock, with the
// token read inside it, so that two tabs never spend the same one (auth would end the log-in). The access token stays in
// memory.
import { Failure, failureOf, unreachable } from "./words.js";

const REFRESH = "lowtide.refresh";
const PROFILE = "lowtide.profile";
const DEVICE = "lowtide.device";
const EARLY_MS = 20_000;

let config = null;
let access = { token: "", goodUntil: 0 };

export async function openServices() {
  const answer = await fetch("/config.json").catch(() => { throw unreachable("playback"); });
  if (!answer.ok) throw await failureOf(answer);
  config = await answer.json();
  return config;
}

export const isLoggedIn = () => Boolean(localStorage.getItem(REFRESH));
export const demoNetworks = () => config.demo_networks ?? [];
export const regions = () => config.regions ?? [];

/** The name of this device towards playback: the stream limit counts devices. */
export function deviceId() {
  let id = localStorage.getItem(DEVICE);
  if (!id) {
    const bytes = crypto.getRandomValues(new Uint8Array(4));
    const random = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    id = `browser-${random}`;
    localStorage.setItem(DEVICE, id);
  }
  return id;
}

export const chosenProfileId = () => sessionStorage.getItem(PROFILE) ?? "";
export const chooseProfileId = (id) => sessionStorage.setItem(PROFILE, id);

function keep(tokens) {
  access = { token: tokens.access_token, goodUntil: Date.now() + tokens.expires_in_s * 1000 - EARLY_MS };
  localStorage.setItem(REFRESH, tokens.refresh_token);
}

export function forget() {
  access = { token: "", goodUntil: 0 };
  localStorage.removeItem(REFRESH);
  sessionStorage.removeItem(PROFILE);
}

/** One exchange; `path` may be an address that the service gave. Gives the decoded answer, or null when there is none; throws a Failure. */
async function exchange(service, method, path, { body, bearer, keepalive } = {}) {
  const base = config[`${service}_url`];
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  let answer;
  try {
    answer = await fetch(path.startsWith("/") ? base + path : path, {
      method, headers, keepalive, body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw unreachable(service);
  }
  if (!answer.ok) throw await failureOf(answer);
  return answer.status === 204 ? null : answer.json();
}

async function renewed() {
  const refresh = localStorage.getItem(REFRESH);
  if (!refresh) throw new Failure("unauthenticated", "You are signed out. Please log in again.");
  try {
    keep(await exchange("auth", "POST", "/v1/sessions/refresh", { body: { refresh_token: refresh } }));
  } catch (failure) {
    if (failure.status === 401) forget();
    throw failure;
  }
}

export function renew() {
  return navigator.locks ? navigator.locks.request("lowtide.refresh", renewed) : renewed();
}

async function bearer() {
  if (!access.token || Date.now() > access.goodUntil) await renew();
  return access.token;
}

/** A call as the member. A token that was refused is renewed once. */
export async function call(service, method, path, body) {
  try {
    return await exchange(service, method, path, { body, bearer: await bearer() });
  } catch (failure) {
    if (failure.status !== 401 || !isLoggedIn()) throw failure;
    await renew();
    return exchange(service, method, path, { body, bearer: access.token });
  }
}

/** A call that needs no member. */
export const ask = (service, path) => exchange(service, "GET", path);

export async function logIn(email, password) {
  keep(await exchange("auth", "POST", "/v1/sessions", { body: { email, password, device_name: deviceId() } }));
}

export async function signUp(form) {
  keep(await exchange("auth", "POST", "/v1/accounts", { body: form }));
}

/** Signing out always works here; there, as soon as auth answers. */
export async function signOut() {
  try {
    await call("auth", "DELETE", "/v1/sessions");
  } catch (failure) {
    if (failure.code !== "unreachable" && failure.status !== 401) throw failure;
  } finally {
    forget();
  }
}

// The last word of a play that was left: whoever shows positions waits for it, but not long.
const LAST_WORD_MS = 1500;
let lastWord = Promise.resolve();

export function keepLastWord(sent) {
  lastWord = Promise.race([sent.catch(() => {}), new Promise((resolve) => { setTimeout(resolve, LAST_WORD_MS); })]);
}

export const afterLastWord = () => lastWord;
