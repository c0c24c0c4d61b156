// Keeps the state, asks the control plane every two seconds, draws.

import { h, render } from "../vendor/preact/preact.mjs";
import { Refusal, forgetToken, get, keepToken, page, token } from "./api.js";
import { asking, noMisses, noPlays, noRoutes } from "./asking.js";
import { noHistory, withOverview } from "./rates.js";
import { App, PAGES } from "./views.js";

const REFRESH_MS = 2000;
const TYPING_MS = 250;
const FILES_SHOWN = 12;

let state = {
  token: token(),
  overview: null,
  history: noHistory(),
  problem: null,
  words: "",
  files: null,
  explained: null,
  reports: {},
  view: viewOf(),
  plays: noPlays(),
  routes: noRoutes(),
  misses: noMisses(),
};
let typing = null;
let turn = 0;

function show(changes) {
  state = { ...state, ...changes };
  render(h(App, { state, act }), document.getElementById("page"));
}

const act = {
  ...asking(() => state, show, refused),
  enter(text) {
    keepToken(text);
    show({ token: text, problem: null });
    turnTo(state.view);
    refresh();
  },
  leave() {
    forgetToken();
    const gone = { plays: noPlays(), routes: noRoutes(), misses: noMisses() };
    show({ ...gone, token: null, overview: null, history: noHistory(), problem: null, files: null, explained: null, words: "" });
  },
  search(words) {
    show({ words });
    clearTimeout(typing);
    typing = setTimeout(() => search(words), TYPING_MS);
  },
  async report(site) {
    try {
      const address = await page(`/v1/reports/nightly/${encodeURIComponent(site)}/latest/page`);
      show({ reports: { ...state.reports, [site]: "" } });
      open(address, "_blank");
    } catch (error) {
      if (error instanceof Refusal && error.status === 404) {
        show({ reports: { ...state.reports, [site]: "The first one is written after the next fill window." } });
      } else {
        refused(error);
      }
    }
  },
  async explain(key) {
    const sites = state.overview.sites.map((item) => item.site.id);
    const answers = await Promise.all(sites.map((site) => explanation(key, site)));
    show({ explained: { key, answers } });
  },
};

async function search(words) {
  if (!words.trim()) return show({ files: null, explained: null });
  try {
    const found = await get("/v1/files", { q: words.trim(), limit: FILES_SHOWN });
    if (words === state.words) show({ files: found.files });
  } catch (error) {
    refused(error);
  }
}

async function explanation(key, site) {
  try {
    return { site, answer: await get("/v1/plans/latest/explain", { key, site }) };
  } catch (error) {
    return { site, problem: error.message };
  }
}

function refused(error) {
  if (!(error instanceof Refusal)) throw error;
  if (error.status === 401) {
    forgetToken();
    show({ token: null, overview: null, problem: "The token was not accepted." });
  } else {
    show({ problem: error.message });
  }
}

/** The page that the address names: `#/plays`; the overview where it names none. */
function viewOf() {
  const name = location.hash.replace(/^#\//, "");
  return name in PAGES ? name : "overview";
}

// What a page shows at first is asked when it is opened.
function turnTo(view) {
  show({ view });
  if (!state.token) return;
  if (view === "plays" && !state.plays.list) act.findPlays(state.plays.query);
  if (view === "misses") act.findMisses(state.misses.query);
  if (view === "routes" && !state.routes.found) act.findRoutes(state.routes.query);
}

async function refresh() {
  const mine = ++turn;
  if (state.token && !document.hidden) {
    try {
      const overview = await get("/v1/overview");
      if (mine === turn && state.token) show({ overview, history: withOverview(state.history, overview), problem: null });
    } catch (error) {
      if (mine === turn) refused(error);
    }
  }
  if (mine === turn) setTimeout(() => mine === turn && refresh(), REFRESH_MS);
}

document.addEventListener("visibilitychange", () => !document.hidden && refresh());
addEventListener("hashchange", () => {
  const given = token();
  if (given !== state.token) act.enter(given);
  turnTo(viewOf());
});
show({});
turnTo(state.view);
refresh();
