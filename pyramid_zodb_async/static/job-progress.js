/**
 * `<job-progress src="/jobs/…">` shows how a job goes, and what came of it.
 *
 *     <script type="module" src="/jobs/static/job-progress.js"></script>
 *     <job-progress src="/jobs/…" label="Your report" next="/reports">
 *       Your report is being made. <a href="/reports">Look for it here.</a>
 *     </job-progress>
 *
 * job-progress.d.ts beside this file describes attributes and events.
 */

import { cancel, job, retry } from "./jobs.js";

/** What it says; an attribute `text-…` says something else. */
const TEXTS = {
  label: "Progress",
  cancel: "Cancel",
  retry: "Try again",
  pending: "Waiting to begin.",
  running: "Working.",
  cancelling: "Cancelling.",
  succeeded: "Done.",
  cancelled: "Cancelled.",
};

/** States of the element for errors that are none of the job. */
const STATES = {
  UnknownJob: "unknown",
  AccessDenied: "denied",
  Unreachable: "unreachable",
};

const CSS = `
:host{display:block;max-inline-size:40rem;margin-block:1rem;line-height:1.5}
:host([hidden]),:host(:not([src])),[hidden]{display:none!important}
[part=label]{font-weight:600}
[part=bar]{block-size:var(--job-progress-height,.625rem);margin-block:.375rem;
border-radius:var(--job-progress-radius,1rem);overflow:hidden;
background:var(--job-progress-track,color-mix(in srgb,currentcolor 18%,transparent))}
[part=fill]{block-size:100%;border-radius:inherit;transition:inline-size .2s;
background:var(--job-progress-color,#3b7ff0)}
:host([state=succeeded]) [part=fill]{background:var(--job-progress-succeeded,#16934a)}
:host([state=failed]) [part=fill]{background:var(--job-progress-failed,#dc2f2f)}
:host([state=cancelled]) [part=fill]{background:currentcolor;opacity:.5}
.busy{animation:busy 1.6s infinite ease-in-out}
@keyframes busy{from{margin-inline-start:-40%;inline-size:40%}to{margin-inline-start:100%;inline-size:40%}}
[part=row]{display:flex;flex-wrap:wrap;gap:.25rem .75rem;align-items:center;min-block-size:2.25rem}
[part=message]{flex:1 0 10rem;overflow-wrap:anywhere}
button{font:inherit;color:inherit;cursor:pointer;padding:.25rem .875rem;
background:none;border:1px solid;border-radius:var(--job-progress-radius,1rem)}
button:hover{background:color-mix(in srgb,currentcolor 12%,transparent)}
[aria-disabled=true]{opacity:.6}
:focus-visible{outline:2px solid;outline-offset:2px}
[part=status]{position:absolute;inline-size:1px;block-size:1px;overflow:hidden;clip-path:inset(50%)}
@media(prefers-reduced-motion){[part=fill]{transition:none}
.busy{animation:none;inline-size:100%!important;opacity:.5}}
@media(forced-colors:active){[part=bar]{border:1px solid}
[part=fill]{forced-color-adjust:none;background:Highlight!important}}`;

let sheet; // one for all; in a style element it would need a Content-Security-Policy

/** The element; where there are no elements, as on a server, nobody makes one. */
export class JobProgress extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["src", "label", "readonly"];

  #parts = {};
  #document = null;
  #error = null; // why there is no result
  #trouble = ""; // why the last button did not do what it says
  #leave = null; // ends the waiting
  #isOver = false;
  #isCancelling = false;
  #said = null; // of what the live region has told

  /** How the job stands, or why nobody knows; nothing before the first news. */
  get state() {
    const unknown = this.#error && (STATES[this.#error.type] ?? "error");
    return this.#document?.state ?? unknown ?? undefined;
  }

  connectedCallback() {
    if (!this.#parts.bar) {
      this.#build();
    }
    if (!this.#isOver) {
      this.#follow(job);
    }
  }

  disconnectedCallback() {
    this.#leave?.abort();
  }

  attributeChangedCallback(name, before, now) {
    const isOther = name === "src" && before !== now;
    this.#isOver &&= !isOther;
    if (!this.#parts.bar || !this.isConnected) {
      return; // all is looked at when it is connected
    }
    if (isOther) {
      this.#follow(job);
    } else {
      this.#show();
    }
  }

  /** Wait from the beginning, with `job` or with `retry`. */
  async #follow(wait) {
    this.#leave?.abort();
    const { signal } = (this.#leave = new AbortController());
    this.#document = this.#error = this.#said = null;
    this.#isOver = this.#isCancelling = false;
    this.#trouble = "";
    this.#show();
    const src = this.getAttribute("src");
    if (!src) {
      return;
    }
    const onProgress = (document) => {
      this.#document = document;
      this.#show();
      this.#tell("job-progress", document);
    };
    let result;
    let error = null;
    try {
      const keep = !this.hasAttribute("forget");
      const options = { keep, leave: signal, onProgress };
      result = await wait(src, { ...options, headers: this.#headers() });
    } catch (thrown) {
      error = thrown;
    }
    if (!signal.aborted) {
      this.#end(result, error);
    }
  }

  #end(result, error) {
    this.#error = error;
    this.#isOver = true;
    this.#document = error ? (error.document ?? null) : this.#document;
    this.#show();
    const { state } = this;
    const detail = { state, result, error, document: this.#document };
    const next = this.getAttribute("next");
    if (this.#tell("job-outcome", detail) && next && state === "succeeded") {
      const url = new URL(next, this.baseURI);
      if (url.protocol.startsWith("http")) {
        location.replace(url); // "back" must not lead here, and on again
      }
    }
  }

  async #cancel() {
    if (this.#isCancelling) {
      return;
    }
    const { signal } = this.#leave;
    this.#isCancelling = true;
    this.#trouble = "";
    this.#show();
    try {
      // the document comes to those who wait
      await cancel(this.getAttribute("src"), { headers: this.#headers() });
    } catch (error) {
      this.#trouble = error.message;
    }
    if (!signal.aborted && !this.#isOver) {
      this.#isCancelling = false;
      this.#show();
    }
  }

  #headers() {
    const token = this.getAttribute("csrf-token");
    const name = this.getAttribute("csrf-header") ?? "X-CSRF-Token";
    return token ? { [name]: token } : {};
  }

  #tell(name, detail) {
    const options = { bubbles: true, cancelable: true, composed: true };
    return this.dispatchEvent(new CustomEvent(name, { ...options, detail }));
  }

  // -- What is seen -----------------------------------------------------------

  #build() {
    const root = this.attachShadow({ mode: "open" });
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(CSS);
    }
    root.adoptedStyleSheets = [sheet];
    const add = (parent, tag, part, attributes) => {
      const made = parent.appendChild(document.createElement(tag));
      for (const [name, value] of Object.entries({ part, ...attributes })) {
        made.setAttribute(name, value);
      }
      return (this.#parts[part] = made);
    };
    add(root, "div", "label");
    const bar = { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 };
    add(add(root, "div", "bar", bar), "div", "fill");
    const row = add(root, "div", "row");
    add(row, "span", "message", { tabindex: -1 });
    add(row, "span", "figures");
    for (const name of ["cancel", "retry"]) {
      const button = add(row, "button", name, { type: "button" });
      add(button, "slot", `${name}-text`, { name });
    }
    add(root, "div", "status", { role: "status" });
    this.#parts.cancel.onclick = () => this.#cancel();
    this.#parts.retry.onclick = () =>
      this.#follow(this.state === "failed" ? retry : job);
  }

  #text(name) {
    return this.getAttribute(`text-${name}`) ?? TEXTS[name];
  }

  #message() {
    const { state } = this;
    if (this.#trouble || !state) {
      return this.#trouble;
    }
    if (this.#isCancelling && !this.#isOver) {
      return this.#text("cancelling");
    }
    const { error, progress } = this.#document ?? {};
    const said = this.#isOver ? error?.detail : progress?.message;
    return said ?? this.#text(state) ?? this.#error?.message ?? "";
  }

  #show() {
    const { state } = this;
    const parts = this.#parts;
    const isOver = this.#isOver;
    const { done, total } = this.#document?.progress ?? {};
    const known = total > 0 ? Math.min(Math.max(done / total, 0), 1) : null;
    const part = state === "succeeded" ? 1 : known;
    const percent = part === null ? null : Math.floor(100 * part);
    const figures =
      percent === null
        ? (done?.toLocaleString() ?? "")
        : (percent / 100).toLocaleString(undefined, { style: "percent" });
    const label = this.getAttribute("label");
    const message = this.#message();
    this.setAttribute("state", state ?? "");
    parts.label.textContent = label;
    parts.message.textContent = message;
    parts.figures.textContent = figures;
    const isBusy = percent === null && !isOver;
    const least = state === "failed" ? 100 : 0; // so that its colour is seen
    parts.fill.classList.toggle("busy", isBusy);
    parts.fill.style.inlineSize = `${percent ?? least}%`;
    parts.bar.ariaLabel = label || this.#text("label");
    parts.bar.ariaValueNow = percent;
    parts.bar.ariaValueText = `${figures} ${message}`.trim();
    this.#offer("cancel", !isOver && state);
    this.#offer("retry", isOver && /^(failed|unreachable)$/.test(state));
    parts.cancel.ariaDisabled = this.#isCancelling;
    const sentence = label ? `${label}: ${message}` : message;
    this.#say(Math.floor(4 * part), figures, sentence);
  }

  #offer(name, isPossible) {
    const button = this.#parts[name];
    const hadFocus = this.shadowRoot.activeElement === button;
    this.#parts[`${name}-text`].textContent = this.#text(name);
    button.hidden = !isPossible || this.hasAttribute("readonly");
    if (hadFocus && button.hidden) {
      this.#parts.message.focus(); // it would be lost
    }
  }

  /** Tell those who do not see the bar, but seldom. */
  #say(quarter, figures, sentence) {
    const { state } = this;
    const isFirst = this.#said === null;
    const isNews = this.#isOver || this.#isCancelling || this.#trouble;
    const about = isNews ? sentence : quarter;
    if (state && about !== this.#said) {
      this.#said = about;
      const text = isFirst || isNews ? sentence : figures;
      this.#parts.status.textContent = text;
    }
  }
}

if (globalThis.customElements && !customElements.get("job-progress")) {
  customElements.define("job-progress", JobProgress);
}
