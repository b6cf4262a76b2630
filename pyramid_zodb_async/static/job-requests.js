/**
 * The requests of jobs.js, what their answers say, and the pauses between them.
 *
 * Pages import jobs.js; nothing here is promised to them.
 */

// All times are in milliseconds.
export const PACE = 1_000; // between two looks, where the server names no other
const HIDDEN_PACE = 10_000; // at least, while nobody sees the page
const CLOSEST = 200; // no two looks are closer together than this
const JITTER = 0.2; // pauses grow by up to this part, to spread the load
const MISSING_PACE = 250; // between two looks for a job that is not there yet
const MISSING_FOR = 1_000; // then it is not going to appear
const LOST_AFTER = 30_000; // an answer that takes longer is taken for lost
const SILENCE = 3_000; // then there is no connection
const LONGEST_BACK_OFF = 30_000;
const SEEN_BACK_OFF = 2_000; // in a page that is seen, while nobody answers
const GIVE_UP_AFTER = 300_000; // spent in pauses without one good answer
const PASSING = [408, 425, 429]; // these say "later", like every 5xx
const AWAY = [502, 503, 504]; // of a proxy whose server is away

/** Why there is no result. `message` is meant for people. */
export class JobError extends Error {
  constructor(message, { type, document = null }) {
    super(message);
    this.name = "JobError";
    this.type = type;
    this.document = document;
  }
}

// -- Who asks -----------------------------------------------------------------

const numbers = new WeakMap();
const reported = new WeakSet(); // functions for headers that have failed
let last = 0;

function numberOf(made) {
  if (made && !numbers.has(made)) {
    numbers.set(made, (last += 1));
  }
  return numbers.get(made) ?? 0;
}

/** How requests are sent, so that the server knows who asks. */
export class Access {
  #credentials;
  #fetch;
  #headers;
  #isAsked; // whether a function gives the headers of each request

  constructor({ credentials = "same-origin", fetch, headers } = {}) {
    this.#credentials = credentials;
    this.#fetch = fetch;
    this.#isAsked = typeof headers === "function";
    // if they are wrong, that is to be said at once; and whatever becomes of
    // the object, they are those of whom it was about
    this.#headers = this.#isAsked ? headers : new Headers(headers ?? undefined);
    const who = this.#isAsked ? numberOf(headers) : [...this.#headers];
    /** The same for all who may share a request. */
    this.key = JSON.stringify([who, credentials, numberOf(fetch)]);
    /** Whether they are known by something else than the cookies. */
    this.isOwn = this.key !== '[[],"same-origin",0]';
  }

  /** Make a request of it; of a URL that nobody can ask for there is none. */
  request(url, options) {
    return new Request(url, {
      cache: "no-store",
      credentials: this.#credentials,
      redirect: "manual",
      ...options,
    });
  }

  /**
   * Send a request; give what came of it, with the status 0 where there was no
   * answer. The connection is told, unless `onStart` gives the request up: it
   * gets a function that does so, at once or as soon as there may be another.
   */
  async ask(url, { connection, hold, onStart, ...options } = {}) {
    let soonest;
    const cut = new AbortController();
    let timer;
    const cutIn = (time) => {
      clearTimeout(timer);
      timer = setTimeout(() => cut.abort(), time);
    };
    let isCut = false;
    const expect = (held) => {
      if (!isCut) {
        cutIn(connection?.expect(held) ?? LOST_AFTER);
      }
    };
    const onSend = () => {
      soonest = performance.now() + CLOSEST;
      expect(hold);
    };
    onSend(); // and once more, for headers may take their time
    onStart?.((isSoon) => {
      isCut = true;
      cutIn(isSoon ? soonest - performance.now() : 0);
    });
    const { signal } = cut;
    const { method = "GET" } = options;
    let answer = { status: 0 };
    try {
      const all = { ...options, method, onSend, signal };
      const response = await this.#send(url, all);
      expect(LOST_AFTER); // the rest may take its time
      answer = await read(response);
    } catch (error) {
      answer.error = error.isFinal || error instanceof JobError ? error : null;
    }
    clearTimeout(timer);
    if (!isCut || answer.status) {
      connection?.hear(answer.isOurs);
    }
    return { ...answer, method, soonest };
  }

  async #send(url, options) {
    let response = await this.#try(url, options);
    if (response.status === 401 && this.#isAsked) {
      response = await this.#try(url, options); // with newer ones
    }
    if (isRedirect(response) && options.method === "GET") {
      // to a form, as a rule, which tells nothing if it is of another origin
      const follow = { ...options, mode: "same-origin", redirect: "follow" };
      response = await this.#try(url, follow).catch(() => response);
    }
    return response;
  }

  async #try(url, { headers, onSend, signal, ...options }) {
    const all = new Headers({ Accept: "application/json", ...headers });
    const own = await this.#ownHeaders(signal);
    own.forEach((value, name) => all.set(name, value));
    const request = this.request(url, { ...options, headers: all, signal });
    onSend();
    return (this.#fetch ?? fetch)(request);
  }

  #ownHeaders(signal) {
    if (!this.#isAsked) {
      return this.#headers;
    }
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      const report = (error) => {
        if (!(error instanceof JobError) && !reported.has(this.#headers)) {
          reported.add(this.#headers);
          (globalThis.reportError ?? console.error)(error);
        }
        reject(error);
      };
      const check = (given) => resolve(checked(given));
      (async () => this.#headers())().then(check, report).catch(reject);
    });
  }

  /** Send a request that changes something, with the page's CSRF token. */
  change(url, method, { changeHeaders, connection, version } = {}) {
    const all = new Headers(version ? { "If-Match": quoted(version) } : {});
    const meta = globalThis.document?.querySelector('meta[name="csrf-token"]');
    if (meta && url.origin === location.origin) {
      all.set("X-CSRF-Token", meta.content);
    }
    new Headers(changeHeaders).forEach((value, name) => all.set(name, value));
    const headers = Object.fromEntries(all);
    return this.ask(url, { connection, method, headers, keepalive: true });
  }
}

/** Take headers that a function gave; nobody is to ask for wrong ones again. */
function checked(given) {
  try {
    return new Headers(given ?? undefined);
  } catch (error) {
    throw Object.assign(error, { isFinal: true });
  }
}

const isRedirect = ({ type, status }) =>
  type === "opaqueredirect" || (status >= 300 && status < 400 && status !== 304);

export const quoted = (tag) => `"${tag}"`;

// -- What an answer says ------------------------------------------------------

async function read(response) {
  const body = await response.json().catch(() => null);
  const document = typeof body?.done === "boolean" ? body : null;
  const isAbout = document || Array.isArray(body?.jobs);
  const etag = isAbout ? response.headers.get("ETag") : null;
  // it leads to a form, for the login has ended
  const isForm = response.ok ? !isAbout : !body && response.status < 500;
  const isLed = response.redirected && isForm;
  const status = isLed || isRedirect(response) ? 401 : response.status;
  return {
    body,
    document,
    isOurs: isAbout || status === 304 || body?.title, // or a problem document
    retryAfter: retryAfter(response),
    status,
    version: versionOf(document, etag?.match(/^(?:W\/)?"(.+)"$/)?.[1]),
  };
}

/**
 * Give the version of a document, by which the server knows it. A proxy may have
 * changed the tag in the header; servers of the former build tell nothing else,
 * and that can go in the version after 0.1.
 */
export const versionOf = (document, tag) =>
  document?.version?.toString() ?? tag;

/** Read the header, in seconds or as a date; `null` where it says nothing. */
function retryAfter({ headers }) {
  const value = headers.get("Retry-After") ?? "";
  // the clock here may be another than the server's
  const now = Date.parse(headers.get("Date")) || Date.now();
  const time = /^\d+$/.test(value)
    ? Number(value) * 1_000
    : Date.parse(value) - now;
  const within = Math.min(Math.max(time, 0), GIVE_UP_AFTER);
  return Number.isNaN(within) ? null : within;
}

/** Give the error for an answer after which nobody is to ask again. */
export function refusal({ body, method, status }) {
  const [message, type] = reason(status, body, method);
  return new JobError(message, { type });
}

function reason(status, body, method) {
  const detail = body?.detail ?? body?.title ?? "";
  switch (status) {
    case 404:
    case 410:
      return ["This job is not known, or no longer, or not yours.", "UnknownJob"];
    case 401:
      return ["Your login has ended.", "LoginEnded"];
    case 403: {
      const isSeen = method !== "GET" && detail;
      return [isSeen || "You have no access to this job.", "AccessDenied"];
    }
    default:
      return body?.code === "csrf"
        ? ["This page is out of date; reload it.", "PageOutdated"]
        : [`The server answered ${status}. ${detail}`.trim(), "HTTPError"];
  }
}

// -- Patience -----------------------------------------------------------------

/** Another server process may hear of a fresh job a moment later. */
export class Missing {
  #since = null;

  /** Whether it was looked for, and not found. */
  get isLate() {
    return this.#since !== null;
  }

  /** Give the pause before the next look. @throws {JobError} It is late. */
  pace() {
    this.#since ??= performance.now();
    if (performance.now() - this.#since < MISSING_FOR) {
      return MISSING_PACE;
    }
    throw refusal({ status: 404 });
  }
}

/** How long to wait after answers that are none. */
export class Patience {
  #failures = 0;
  #missing = new Missing();
  #paused = 0; // the sum of pauses, for a laptop may have slept through some

  /** Give the pause after an answer. @throws {JobError} It was final. */
  after(answer) {
    const { error, retryAfter, status } = answer;
    if (error) {
      throw error;
    }
    if (status === 404) {
      return this.#missing.pace();
    }
    if (status >= 400 && status < 500 && !PASSING.includes(status)) {
      throw refusal(answer);
    }
    if (this.#paused >= GIVE_UP_AFTER) {
      throw new JobError("The server does not answer.", {
        type: "Unreachable",
      });
    }
    // whoever sees that there is no connection is to see when it is back; to a
    // server that is there this is no more than without a failure
    const isBusy = status >= 300 && !AWAY.includes(status);
    const isSeen = globalThis.document?.hidden === false;
    const longest = isSeen && !isBusy ? SEEN_BACK_OFF : LONGEST_BACK_OFF;
    const delay = retryAfter || Math.min(PACE * 2 ** this.#failures, longest);
    this.#failures += 1;
    this.#paused += delay;
    return delay;
  }
}

/** Tells when there has been no connection for a while, and when it is back. */
export class Connection {
  isThere = true;
  failures = 0; // since the last answer
  #tell;
  #timer;

  constructor(tell) {
    this.#tell = tell;
  }

  /**
   * A request is sent that the server may hold for so long; give when to send
   * another. The way that it takes may be dead, and a new one not.
   */
  expect(hold = 0) {
    const { failures } = this;
    failures || this.#loseAfter(hold + SILENCE);
    return failures || hold
      ? Math.min(hold + SILENCE * 2 ** failures, LOST_AFTER)
      : LOST_AFTER;
  }

  /** An answer came, or none; that of a proxy, or of a hotel, is none. */
  hear(isOurs) {
    if (isOurs) {
      this.end();
      this.#set(true);
    } else {
      this.failures || this.#loseAfter(SILENCE);
      this.failures += 1;
    }
  }

  /** Nobody asks any more. */
  end() {
    this.failures = 0;
    clearTimeout(this.#timer);
  }

  #loseAfter(time) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#set(false), time);
  }

  #set(isThere) {
    if (isThere !== this.isThere) {
      this.isThere = isThere;
      this.#tell(isThere);
    }
  }
}

/**
 * Wait, and somewhat longer; in a hidden page longer still, but only until it
 * is looked at. Without a delay there is none but what is always kept. `wake`
 * gets a function that ends the pause.
 */
export function pause(delay, soonest, wake) {
  const page = globalThis.document;
  const isSlow = page?.hidden && delay !== null;
  const pace = isSlow ? Math.max(delay, HIDDEN_PACE) : delay;
  return new Promise((resolve) => {
    let timer;
    const end = () => {
      page?.removeEventListener("visibilitychange", look);
      resolve();
    };
    const endIn = (time) => {
      clearTimeout(timer);
      const least = soonest - performance.now();
      timer = setTimeout(end, Math.ceil(Math.max(time, least)));
    };
    const look = () => {
      if (!page.hidden) {
        endIn(0);
      }
    };
    endIn(pace * (1 + JITTER * Math.random()));
    page?.addEventListener("visibilitychange", look);
    wake?.(() => endIn(0));
  });
}
