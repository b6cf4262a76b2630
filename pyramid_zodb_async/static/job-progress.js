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
  offline: "No connection; trying again.",
  cancelling: "Cancelling.",
  retrying: "Trying again.",
  again: "It failed again.",
  succeeded: "Done.",
  cancelled: "Cancelled.",
};

/** What errors are called here that are none of the job. */
const STATES = {
  UnknownJob: "unknown",
  AccessDenied: "denied",
  LoginEnded: "login-ended",
  PageOutdated: "outdated",
  Unreachable: "unreachable",
};

const CSS = `
:host{display:block;max-inline-size:40rem;margin-block:1rem;line-height:1.5}
:host(:is([hidden],:not([src]),[src=""])),[hidden]{display:none!important}
[part=label]{font-weight:600;overflow-wrap:anywhere}
[part=bar]{block-size:var(--job-progress-height,.625rem);margin-block:.375rem;
border-radius:var(--job-progress-radius,1rem);overflow:hidden;
background:var(--job-progress-track,color-mix(in srgb,currentcolor 18%,transparent))}
[part=fill]{block-size:100%;border-radius:inherit;transition:inline-size .2s;
background:var(--job-progress-color,#3b7ff0)}
:host([state=succeeded]) [part=fill]{background:var(--job-progress-succeeded,#16934a)}
:host([state=failed]) [part=fill]{background:var(--job-progress-failed,#dc2f2f)}
:host([state=cancelled]) [part=fill]{background:currentcolor;opacity:.5}
:host([offline]) [part=fill]{opacity:.4}
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
@media print{[part=bar],[part=fill]{print-color-adjust:exact}button{display:none}}
@media(forced-colors:active){[part=bar]{border:1px solid}
[part=fill]{forced-color-adjust:none;background:Highlight!important}}`;

/** What a page may set of it. */
const PROPERTIES = "src label next readonly headers credentials fetch".split(" ");

let sheet; // one for all; in a style element it would need a Content-Security-Policy

/** The element; where there are no elements, as on a server, nobody makes one. */
export class JobProgress extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["src", "label", "readonly"];

  static {
    for (const name of PROPERTIES) {
      Object.defineProperty(this.prototype, name, {
        get() {
          return this.#get(name);
        },
        set(value) {
          this.#set(name, value);
        },
      });
    }
  }

  #parts = {};
  // how the server is asked
  #access = { headers: undefined, credentials: undefined, fetch: undefined };
  #document = null;
  #error = null; // why there is no result
  #trouble = null; // why the last button did not do what it says
  #leave = null; // ends the waiting
  #isOver = false;
  #isSeen = false; // whether the server has once known the job
  #isAgain = false; // whether it was tried again here
  #doing = ""; // what the last button does
  #away = new Set(); // those who have no connection
  #said = null; // of what the live region has told

  /** How the job stands, or why nobody knows; nothing before the first news. */
  get state() {
    const unknown = this.#error && (STATES[this.#error.type] ?? "error");
    return this.#document?.state ?? unknown ?? undefined;
  }

  connectedCallback() {
    if (!this.#parts.bar) {
      this.#adopt();
      this.#build();
    }
    if (!this.#isOver) {
      // one that was moved goes on from what it shows
      this.#follow(job, this.#document ? this.#doing : undefined);
    }
  }

  disconnectedCallback() {
    this.#leave?.abort();
  }

  attributeChangedCallback(name, before, now) {
    const isOther = name === "src" && before !== now;
    if (isOther) {
      this.#isOver = this.#isSeen = false;
      this.#document = null;
    }
    if (!this.#parts.bar || !this.isConnected) {
      return; // all is looked at when it is connected
    }
    if (isOther) {
      this.#follow(job);
    } else {
      this.#show();
    }
  }

  /** Take what was set before there was this class. */
  #adopt() {
    for (const name of PROPERTIES) {
      if (Object.hasOwn(this, name)) {
        const value = this[name];
        delete this[name];
        this[name] = value;
      }
    }
  }

  #set(name, value) {
    if (name in this.#access) {
      this.#access[name] = value ?? undefined;
      if (this.#parts.bar && this.isConnected) {
        if (!this.#isOver) {
          this.#follow(job, this.#doing);
        } else if (!this.#document) {
          this.#tryAgain();
        }
      }
    } else if (value == null || value === false) {
      this.removeAttribute(name);
    } else {
      this.setAttribute(name, value === true ? "" : value);
    }
  }

  #get(name) {
    if (name in this.#access) {
      return this.#access[name];
    }
    const value = this.getAttribute(name);
    return name === "readonly" ? value !== null : (value ?? "");
  }

  #tryAgain() {
    this.#isAgain = this.state === "failed";
    this.#follow(this.#isAgain ? retry : job, "retrying");
  }

  /** Wait; what is shown stays until there is news, if something is done. */
  async #follow(wait, doing) {
    const before = this.#leave;
    const leave = new AbortController();
    this.#leave = leave;
    const known = this.#document;
    const isAnew = doing === undefined;
    this.#doing = doing ?? "";
    this.#trouble = null;
    this.#isOver = false;
    if (isAnew) {
      this.#document = this.#error = this.#said = null;
      this.#isAgain = false;
      this.#away = new Set();
    }
    this.#show();
    const { src } = this;
    let result;
    let error = null;
    try {
      const waiting =
        src &&
        wait(src, {
          ...this.#options(job),
          keep: !this.hasAttribute("forget"),
          leave: leave.signal,
          onProgress: (document) =>
            this.#hear(document, isAnew || document.version !== known?.version),
        });
      before?.abort(); // not sooner: who asks in the same way goes on
      result = await waiting;
    } catch (thrown) {
      error = thrown;
    }
    if (!src || leave.signal.aborted) {
      return;
    }
    if (wait === retry && known === this.#document) {
      this.#isOver = true; // as it was before
      this.#stop(error);
    } else {
      this.#end(result, error);
    }
  }

  #hear(document, isNews) {
    this.#away.delete(job);
    this.#error = null;
    this.#isSeen = true;
    this.#document = document;
    if (this.#doing === "retrying") {
      this.#doing = "";
    }
    this.#show();
    if (isNews) {
      this.#tell("job-progress", document);
    }
  }

  /** A button has done what it does, or cannot. */
  #stop(error) {
    this.#doing = "";
    this.#trouble = error && (this.#text(STATES[error.type]) ?? error.message);
    this.#show();
  }

  #end(result, error) {
    this.#error = error;
    this.#isOver = true;
    this.#doing = "";
    this.#trouble = null;
    this.#document = error ? (error.document ?? null) : this.#document;
    this.#show();
    const { next, state } = this;
    const detail = { state, result, error, document: this.#document };
    if (this.#tell("job-outcome", detail) && next && state === "succeeded") {
      const url = new URL(next, this.baseURI);
      if (url.protocol.startsWith("http")) {
        location.replace(url); // "back" must not lead here, and on again
      }
    }
  }

  async #cancel() {
    if (this.#doing) {
      return;
    }
    const away = this.#away;
    this.#doing = "cancelling";
    this.#trouble = null;
    this.#show();
    let error;
    try {
      // the document comes to those who wait
      await cancel(this.src, this.#options(cancel));
    } catch (thrown) {
      error = thrown;
    }
    away.delete(cancel);
    if (away === this.#away && !this.#isOver) {
      this.#stop(error);
    }
  }

  /** Give how the server is asked by one of those. */
  #options(who) {
    const token = this.getAttribute("csrf-token");
    const name = this.getAttribute("csrf-header") ?? "X-CSRF-Token";
    const away = this.#away;
    const onConnection = (isConnected) => {
      away[isConnected ? "delete" : "add"](who);
      this.#show();
    };
    const changeHeaders = token ? { [name]: token } : {};
    return { ...this.#access, changeHeaders, onConnection };
  }

  #tell(name, detail) {
    const goes = { bubbles: true, cancelable: true, composed: true, detail };
    return this.dispatchEvent(new CustomEvent(name, goes));
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
    this.#parts.retry.onclick = () => this.#tryAgain();
  }

  #text(name) {
    return this.getAttribute(`text-${name}`) ?? TEXTS[name];
  }

  get #isOffline() {
    return this.#away.size > 0 && !this.#isOver;
  }

  #message() {
    const { state } = this;
    const { error, progress } = this.#document ?? {};
    const own = this.#isOver ? error?.detail : progress?.message;
    const said = own ?? this.#text(state) ?? this.#error?.message ?? "";
    const isAgain = this.#isAgain && state === "failed";
    return this.#isOffline
      ? this.#text("offline")
      : (this.#trouble ??
          this.#text(this.#doing) ??
          (isAgain ? `${this.#text("again")} ${said}` : said));
  }

  #show() {
    const { label, state } = this;
    const parts = this.#parts;
    const isOver = this.#isOver;
    const { done, total } = this.#document?.progress ?? {};
    const isWhole = state === "succeeded" || (total > 0 && done >= total);
    // 0.29 * 100 is less than 29
    const part = Math.min(Math.floor((100 * done) / total + 1e-9), 99);
    const percent = isWhole ? 100 : total > 0 ? part : null;
    const figures =
      percent === null
        ? (done?.toLocaleString() ?? "")
        : (percent / 100).toLocaleString(undefined, { style: "percent" });
    const message = this.#message();
    this.setAttribute("state", state ?? "");
    parts.label.textContent = label;
    parts.message.textContent = message;
    parts.figures.textContent = figures;
    this.toggleAttribute("offline", this.#isOffline);
    const isBusy = percent === null && state === "running" && !this.#isOffline;
    const least = state === "failed" ? 100 : 0; // so that its colour is seen
    parts.fill.classList.toggle("busy", isBusy);
    parts.fill.style.inlineSize = `${percent ?? least}%`;
    parts.bar.ariaLabel = label || this.#text("label");
    parts.bar.ariaValueNow = percent;
    parts.bar.ariaValueText = `${figures} ${message}`.trim();
    this.#offer("cancel", !isOver && this.#document?.done === false);
    const other = STATES[this.#error?.type];
    const isOpen = other && (this.#isSeen || other !== "unknown");
    this.#offer("retry", isOver && (isOpen || state === "failed"));
    parts.cancel.ariaDisabled = Boolean(this.#doing);
    const about = label ? `${label}: ` : "";
    this.#say(Math.floor(percent / 25), about + figures, about + message);
  }

  #offer(name, isPossible) {
    const button = this.#parts[name];
    const hadFocus = this.shadowRoot.activeElement === button;
    this.#parts[`${name}-text`].textContent = this.#text(name);
    button.hidden = !isPossible || this.readonly;
    if (hadFocus && button.hidden) {
      this.#parts.message.focus(); // it would be lost
    }
  }

  /** Tell those who do not see the bar, but seldom. */
  #say(quarter, figures, sentence) {
    const isNews =
      this.#isOver || this.#doing || this.#trouble || this.#isOffline;
    const isSentence = isNews || typeof this.#said !== "number";
    const about = isNews ? sentence : quarter;
    if ((this.state || isNews) && about !== this.#said) {
      this.#said = about;
      this.#parts.status.textContent = isSentence ? sentence : figures;
    }
  }
}

if (globalThis.customElements && !customElements.get("job-progress")) {
  customElements.define("job-progress", JobProgress);
}
