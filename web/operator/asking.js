// What the pages beside the overview ask of the control plane. `show(changes)` takes what came into the state.

import { Refusal, get } from "./api.js";

const MOST_PLAYS = 200;
const LONGEST_SESSION_MS = 12 * 3600_000;
const MOST_ROUTES = 1000;

export const noPlays = () => ({ query: { play: "", client: "", title: "", hours: "1" }, busy: false, problem: null, list: null, session: "", told: null });
export const noRoutes = () => ({ query: { q: "", site: "" }, asked: { q: "" }, filter: "all", busy: false, problem: null, found: null });
export const noMisses = () => ({ query: { site: "", hours: "48" }, view: "", problem: null, list: null });

// A ranking stands for itself; of a move the ranking is wanted too, which may be hours older.
function sinceOf({ time, steered }) {
  return new Date(Date.parse(time) - (steered ? LONGEST_SESSION_MS : 0)).toISOString();
}

/** The acts of the three pages. `state()` is the present state; `refused(error)` is told when the token is. */
export function asking(state, show, refused) {
  const change = (name, changes) => show({ [name]: { ...state()[name], ...changes } });

  // An answer that comes after a newer question is of no use. `gone` is what an older answer left and a refusal takes away.
  async function ask(name, call, changes, gone) {
    const turn = Symbol(name);
    change(name, { ...changes, turn, busy: true, problem: null });
    try {
      const found = await call();
      if (state()[name].turn === turn) change(name, { ...found, busy: false });
    } catch (error) {
      if (state()[name].turn !== turn) return;
      change(name, { ...gone, busy: false, problem: error instanceof Refusal ? error.message : null });
      if (!(error instanceof Refusal) || error.status === 401) refused(error);
    }
  }

  return {
    findPlays(query) {
      const { play, client, title, hours } = Object.fromEntries(Object.entries(query).map(([name, text]) => [name, text.trim()]));
      const since = new Date(Date.now() - Number(hours) * 3600_000).toISOString();
      const asked = Object.fromEntries(Object.entries({ play, client, title, since }).filter(([, text]) => text));
      const call = async () => ({ list: await get("/v1/plays", { ...asked, limit: MOST_PLAYS }) });
      return ask("plays", call, { query: { play, client, title, hours }, told: null, session: "" }, { list: null });
    },
    whyPlay(session) {
      const since = sinceOf(state().plays.list.plays.filter((one) => one.play === session).at(-1));
      return ask("plays", async () => ({ told: await get(`/v1/plays/${encodeURIComponent(session)}`, { since }) }), { session, told: null }, {});
    },
    findRoutes(query) {
      const { q, site } = { q: query.q.trim(), site: query.site };
      const lists = async () => {
        const limit = MOST_ROUTES;
        const [sources, routes, quarantine, inconsistent, lonely] = await Promise.all([
          get("/v1/routes/sources", { site }),
          get("/v1/routes", { q, site, limit }),
          get("/v1/routes/quarantine", { site, limit }),
          get("/v1/routes/inconsistent", { site, limit }),
          get("/v1/routes/lonely", { site, limit }),
        ]);
        return { found: { sources, routes, quarantine, inconsistent, lonely }, asked: { q } };
      };
      return ask("routes", lists, { query: { q, site }, filter: q ? "all" : state().routes.filter }, { found: null });
    },
    filterRoutes(filter) {
      change("routes", { filter });
    },
    findMisses(query) {
      return ask("misses", async () => ({ list: await get("/v1/misses", query) }), { query }, { list: null });
    },
    chartMisses(view) {
      change("misses", { view });
    },
  };
}
