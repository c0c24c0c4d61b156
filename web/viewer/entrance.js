// Log in, sign up, choose a profile.
import { Trouble } from "./cards.js";
import { call, demoNetworks, logIn, regions, renew, signUp } from "./services.js";
import { Component, html } from "./ui.js";
import { regionName } from "./words.js";

const PLANS = [
  ["basic", "Basic: one device, up to 480 lines"],
  ["standard", "Standard: two devices, HD"],
  ["premium", "Premium: four devices, UHD"],
];

export class Entrance extends Component {
  constructor(props) {
    super(props);
    this.state = { joining: false, busy: false, failure: null };
  }

  async send(event) {
    event.preventDefault();
    const form = Object.fromEntries(new FormData(event.target));
    this.setState({ busy: true, failure: null });
    try {
      await (this.state.joining ? signUp(form) : logIn(form.email, form.password));
      this.props.onEnter();
    } catch (failure) {
      this.setState({ busy: false, failure });
    }
  }

  render(_props, { joining, busy, failure }) {
    return html`
      <main class="entrance">
        <div class="entrance-tide" aria-hidden="true"></div>
        <form class="sheet" onSubmit=${(event) => this.send(event)}>
          <p class="wordmark">Lowtide</p>
          <h1>${joining ? "Create an account" : "Log in"}</h1>
          ${failure && html`<${Trouble} failure=${failure} />`}
          <label>E-mail
            <input name="email" type="email" autocomplete="username" required autofocus />
          </label>
          <label>Password
            <input name="password" type="password" required minlength=${joining ? 10 : 1} maxlength="256"
              autocomplete=${joining ? "new-password" : "current-password"} />
            ${joining && html`<small class="quiet">At least 10 characters.</small>`}
          </label>
          ${joining && html`<${Joining} />`}
          <button class="main" disabled=${busy}>${busy ? "One moment …" : joining ? "Sign up" : "Log in"}</button>
          <p class="quiet">
            ${joining ? "You have an account? " : "New here? "}
            <button type="button" class="link" onClick=${() => this.setState({ joining: !joining, failure: null })}>
              ${joining ? "Log in" : "Create an account"}
            </button>
          </p>
        </form>
      </main>`;
  }
}

function Joining() {
  return html`
    <label>Name of the first profile
      <input name="profile_name" required maxlength="40" autocomplete="nickname" />
    </label>
    <label>Region
      <select name="region">${regions().map((code) => html`<option value=${code}>${regionName(code)}</option>`)}</select>
    </label>
    <label>Plan
      <select name="plan">
        ${PLANS.map(([word, text]) => html`<option value=${word} selected=${word === "standard"}>${text}</option>`)}
      </select>
    </label>`;
}

export class Profiles extends Component {
  constructor(props) {
    super(props);
    this.state = { adding: false, failure: null };
  }

  async change(work) {
    this.setState({ failure: null });
    try {
      await work();
      await this.props.onChange();
    } catch (failure) {
      this.setState({ failure });
    }
  }

  add(event) {
    event.preventDefault();
    const name = new FormData(event.target).get("name");
    this.change(async () => {
      await call("auth", "POST", "/v1/profiles", { name });
      await renew();
      this.setState({ adding: false });
    });
  }

  pick(profile, address) {
    const body = { name: profile.name, settings: { ...profile.settings, demo_network: address } };
    this.change(() => call("auth", "PUT", `/v1/profiles/${profile.id}`, body));
  }

  render({ account, onChoose }, { adding, failure }) {
    return html`
      <main class="profiles">
        <h1>Who is watching?</h1>
        ${failure && html`<${Trouble} failure=${failure} />`}
        <ul class="faces">
          ${account.profiles.map((profile) => html`
            <li key=${profile.id}>
              <button class="face" onClick=${() => onChoose(profile.id)}>
                <span class="face-letter" aria-hidden="true">${[...profile.name][0]}</span>
                <span>${profile.name}</span>
              </button>
              <${NetworkPicker} profile=${profile} onPick=${(address) => this.pick(profile, address)} />
            </li>`)}
          ${account.profiles.length < 5 && !adding && html`
            <li><button class="face" onClick=${() => this.setState({ adding: true })}>
              <span class="face-letter add" aria-hidden="true">+</span><span>Add a profile</span>
            </button></li>`}
        </ul>
        ${adding && html`
          <form class="inline" onSubmit=${(event) => this.add(event)}>
            <label>Name <input name="name" required maxlength="40" autofocus /></label>
            <button class="main">Add</button>
            <button type="button" onClick=${() => this.setState({ adding: false })}>Cancel</button>
          </form>`}
      </main>`;
  }
}

/** Only in demonstrations: in which network this browser pretends to be. */
function NetworkPicker({ profile, onPick }) {
  const networks = demoNetworks();
  if (!networks.length) return null;
  const chosen = profile.settings?.demo_network ?? "";
  return html`
    <label class="demo-network">Demo: watches from
      <select value=${chosen} onChange=${(event) => onPick(event.target.value)}>
        <option value="" selected=${!chosen}>this machine</option>
        ${networks.map((network) => html`
          <option value=${network.address} selected=${chosen === network.address}>${network.name}</option>`)}
      </select>
    </label>`;
}
