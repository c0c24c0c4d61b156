// The one place that knows which view library the page uses.
import htm from "../vendor/htm/htm.mjs";
import { Component, createRef, h, render } from "../vendor/preact/preact.mjs";

export const html = htm.bind(h);
export { Component, createRef, render };
