// The page: who is here, which address (#/…) shows what.
import { Home, Search, TitlePage } from "./browse.js";
import { Trouble } from "./cards.js";
import { Entrance, Profiles } from "./entrance.js";
import { call, chooseProfileId, chosenProfileId, forget, isLoggedIn, openServices, signOut } from "./services.js";
import { Theatre } from "./theatre.js";
import { Component, html, render } from "./ui.js";

const SEARCH_WAIT_MS = 250;

/** `#/title/x` → { name: "title", id: "x" }. */
function placeOf(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [name, id = ""] = path.split("/").map(decodeURIComponent);
  return { name: name || "home", id, text: new URLSearchParams(query).get("q") ?? "" };
}

class Page extends Component {
  constructor(props) {
    super(props);
    this.state = { place: placeOf(location.hash), account: null, failure: null };
  }

  componentDidMount() {
    addEventListener("hashchange", () => this.go(placeOf(location.hash)));
    addEventListener("storage", () => { if (!isLoggedIn()) this.leave(); });
    this.open();
  }

  /** Another page begins at its top, for the eye and for the keyboard; while somebody types, the field keeps the focus. */
  go(place) {
    const another = place.name !== this.state.place.name || place.id !== this.state.place.id;
    this.setState({ place }, () => {
      if (!another) return;
      scrollTo(0, 0);
      const main = document.querySelector("main");
      if (!main || place.name === "search" || place.name === "play") return;
      main.tabIndex = -1;
      main.focus({ preventScroll: true });
    });
  }

  async open() {
    this.setState({ failure: null });
    try {
      await openServices();
      if (isLoggedIn()) await this.readAccount();
      this.setState({ open: true });
    } catch (failure) {
      this.trouble(failure);
    }
  }

  async readAccount() {
    this.setState({ account: await call("auth", "GET", "/v1/account") });
  }

  trouble(failure) {
    if (failure.status === 401) this.leave();
    else this.setState({ failure });
  }

  leave() {
    forget();
    this.setState({ account: null, open: true });
    location.hash = "#/";
  }

  choose(id) {
    chooseProfileId(id);
    if (this.state.place.name === "profiles") location.hash = "#/";
    this.forceUpdate();
  }

  render(_props, { open, account, failure, place }) {
    if (failure) return html`<main class="entrance"><${Trouble} failure=${failure} again=${() => this.open()} /></main>`;
    if (!open) return html`<p class="quiet waiting" aria-busy="true">Lowtide</p>`;
    if (!account) return html`<${Entrance} onEnter=${() => this.readAccount().catch((error) => this.trouble(error))} />`;
    const profile = account.profiles.find((one) => one.id === chosenProfileId());
    const leave = () => signOut().finally(() => this.leave());
    if (!profile || place.name === "profiles") {
      return html`
        <${Top} onLeave=${leave} />
        <${Profiles} account=${account} onChoose=${(id) => this.choose(id)} onChange=${() => this.readAccount()} />`;
    }
    const inside = { profile, region: account.region, titleId: place.id };
    if (place.name === "play") return html`<${Theatre} key=${place.id} ...${inside} />`;
    const shown = {
      title: html`<${TitlePage} ...${inside} />`,
      search: html`<${Search} ...${inside} text=${place.text} />`,
    }[place.name];
    return html`
      <${Top} profile=${profile} text=${place.name === "search" ? place.text : ""} onLeave=${leave} />
      ${shown ?? html`<${Home} ...${inside} />`}`;
  }
}

class Top extends Component {
  search(event) {
    clearTimeout(this.waiting);
    const text = event.target.value;
    this.waiting = setTimeout(() => { location.hash = `#/search?q=${encodeURIComponent(text)}`; }, SEARCH_WAIT_MS);
  }

  submit(event) {
    event.preventDefault();
    clearTimeout(this.waiting);
    location.hash = `#/search?q=${encodeURIComponent(new FormData(event.target).get("q"))}`;
  }

  componentWillUnmount() { clearTimeout(this.waiting); }

  render({ profile, text, onLeave }) {
    return html`
      <header class="top">
        <a class="wordmark" href="#/" aria-label="Lowtide, home">Lowtide</a>
        ${profile && html`
          <form role="search" onSubmit=${(event) => this.submit(event)}>
            <input type="search" name="q" aria-label="Search titles, genres, names" placeholder="Search"
              value=${text} onInput=${(event) => this.search(event)} maxlength="200" />
          </form>
          <a class="plain" href="#/profiles" aria-label=${`Profile ${profile.name}: change`}>${profile.name}</a>`}
        <button class="plain" onClick=${onLeave}>Sign out</button>
      </header>`;
  }
}

render(html`<${Page} />`, document.getElementById("page"));
