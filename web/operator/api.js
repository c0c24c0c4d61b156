// Calls to the control plane with the operator's token. The token lives in sessionStorage: it ends with the tab.

const TOKEN = "lowtide-operator-token";

/** An answer that is not what was asked for. `status` is 0 when there was no answer at all. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The token: from `#token=…` once (then taken out of the address), else what this tab kept; null when there is none. */
export function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(TOKEN, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(TOKEN);
}

export function keepToken(text) {
  sessionStorage.setItem(TOKEN, text);
}

export function forgetToken() {
  sessionStorage.removeItem(TOKEN);
}

/** GET as JSON. Throws Refusal with the problem's words (RFC 9457). */
export async function get(path, query = {}) {
  return (await answered(path, query)).json();
}

/** GET a page as a file of this tab, for an address that needs the token. Throws Refusal. */
export async function page(path) {
  return URL.createObjectURL(await (await answered(path)).blob());
}

async function answered(path, query = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  let answer;
  try {
    answer = await fetch(url, {
      headers: { Authorization: `Bearer ${token()}` },
      signal: AbortSignal.timeout(30_000),
    });
  } catch (error) {
    throw new Refusal(0, "The control plane does not answer.");
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  throw new Refusal(answer.status, body?.detail || body?.title || `It answered ${answer.status}.`);
}
