/**
 * Waiting in a page (or a worker, or Node) for jobs of pyramid_zodb_async.
 *
 *     import { job, JobError } from "/jobs/static/jobs.js";
 *
 *     const answer = await fetch("/reports", { method: "POST" });
 *     const result = await job(answer.headers.get("Location"), {
 *       onProgress: ({ progress }) => console.log(progress?.message),
 *     });
 *
 * jobs.d.ts beside this file describes all that is exported.
 */

// All times are in milliseconds, where nothing else is said.
const WAIT = 10; // in seconds: the server may hold its answer so long
const PACE = 1_000; // between two looks, where the server names no other
const HIDDEN_PACE = 10_000; // at least, while nobody sees the page
const CLOSEST = 200; // no two looks are closer together than this
const JITTER = 0.2; // pauses grow by up to this part, to spread the load
const MISSING_PACE = 250; // between two looks for a job that is not there yet
const MISSING_FOR = 1_000; // then it is not going to appear
const LOST_AFTER = 30_000; // an answer that takes longer is taken for lost
const LONGEST_BACK_OFF = 30_000;
const GIVE_UP_AFTER = 300_000; // spent in pauses without one good answer
const PASSING = [408, 425, 429]; // these say "later", like every 5xx
const MOST = 100; // the server tells of so many jobs in one answer

/** Why there is no result. `message` is meant for people. */
export class JobError extends Error {
  constructor(message, { type, document = null }) {
    super(message);
    this.name = "JobError";
    this.type = type;
    this.document = document;
  }
}

/** Wait for a job, and give what it returned. */
export async function job(url, options) {
  return wait(locate(url), options);
}

/** Cancel a job; give its last status document, however it ended. */
export async function cancel(url, { headers } = {}) {
  return stop(locate(url), headers);
}

/** Have a job that failed run again, and wait for it as `job` does. */
export async function retry(url, options) {
  const place = locate(url);
  const again = new URL(place);
  again.pathname += "/retry";
  const patience = new Patience();
  for (;;) {
    options?.leave?.throwIfAborted();
    const answer = await change(again, "POST", options?.headers);
    // a 409 tells that somebody else was faster, or how the job has ended
    if (answer.document) {
      return wait(place, options, answer);
    }
    await pause(patience.after(answer), answer.soonest);
  }
}

function locate(url) {
  if (!url) {
    throw new TypeError("No URL of a job; did its answer have a Location?");
  }
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  const place = new URL(url, base);
  place.hash = "";
  // if nobody can ask for it, that is to be said at once
  new Request(place);
  sid(place);
  return place;
}

// -- What the page waits for --------------------------------------------------

const watches = new Map(); // by URL
const polls = new Set();
let channel = null; // to the other tabs, while there is a watch

function wait(place, options = {}, known) {
  const { onProgress, signal, leave, keep, headers } = options;
  return new Promise((resolve, reject) => {
    leave?.throwIfAborted();
    new Headers(headers); // if they are wrong, that is to be said at once
    const watch = watches.get(place.href) ?? new Watch(place);
    const waiter = { onProgress, keep, headers, settle, fail };
    function end(settled, value) {
      signal?.removeEventListener("abort", onCancel);
      leave?.removeEventListener("abort", onLeave);
      watch.remove(waiter);
      settled(value);
    }
    function settle(document) {
      if (signal?.aborted && document.state === "cancelled") {
        end(reject, signal.reason);
      } else if (isSuccess(document)) {
        end(resolve, document.result);
      } else {
        end(reject, failure(document));
      }
    }
    function fail(error) {
      end(reject, error);
    }
    const onCancel = () => void stop(place, headers).catch(fail);
    const onLeave = () => end(reject, leave.reason);
    signal?.addEventListener("abort", onCancel);
    leave?.addEventListener("abort", onLeave);
    watch.add(waiter);
    if (known) {
      watch.hear(known.document, known.tag);
    }
    if (signal?.aborted) {
      onCancel();
    }
  });
}

/** One job, and all in this page who wait for it. */
class Watch {
  shown = null;
  tag = null; // the newest, without its quotes
  #version; // the newest that was shown
  missing = new Missing();
  #waiters = new Set();
  #poll;

  constructor(place) {
    this.place = place;
    watches.set(place.href, this);
    openChannel();
    this.#poll = join(this);
  }

  add(waiter) {
    this.#waiters.add(waiter);
    if (this.shown) {
      tell(waiter.onProgress, this.shown);
    }
  }

  remove(waiter) {
    this.#waiters.delete(waiter);
    if (!this.#waiters.size && watches.get(this.place.href) === this) {
      watches.delete(this.place.href);
      this.#poll.drop(this);
      closeChannel();
    }
  }

  /** Whether somebody is to be told at once how the job stands. */
  get isWatched() {
    return [...this.#waiters].some(({ onProgress }) => onProgress);
  }

  /** Ask for this job by itself from now on. */
  part() {
    this.#poll.drop(this);
    this.#poll = new Poll(undefined, this);
  }

  /** Whether a newer one was shown: a process that knew less gave this. */
  isPast({ version }) {
    return version < this.#version;
  }

  #isNews(document) {
    const isNumbered = document.version >= 0 && this.#version >= 0;
    return isNumbered
      ? document.version > this.#version
      : isLaterState(document, this.shown);
  }

  /** Take in what the server or, without a tag, another tab has said. */
  hear(document, tag, isShared) {
    const waiters = [...this.#waiters];
    this.missing = new Missing();
    if (this.isPast(document)) {
      return;
    }
    this.tag = tag ?? this.tag;
    if (!waiters.length || !this.#isNews(document)) {
      return;
    }
    this.#version = document.version ?? this.#version;
    this.shown = document;
    for (const { onProgress } of waiters) {
      tell(onProgress, document);
    }
    if (document.done) {
      const isKept = waiters.some(({ keep }) => keep);
      if (isSuccess(document) && !isShared && !isKept) {
        this.#acknowledge(waiters.find(({ headers }) => headers)?.headers);
      }
      waiters.forEach(({ settle }) => settle(document));
    }
  }

  fail(error) {
    [...this.#waiters].forEach(({ fail }) => fail(error));
  }

  /** Have the server forget the job; other tabs would not find it then. */
  #acknowledge(headers) {
    channel?.postMessage([this.place.href, this.shown]);
    void change(this.place, "DELETE", headers, this.tag);
  }
}

function openChannel() {
  channel ??= new BroadcastChannel("pyramid_zodb_async");
  channel.onmessage = ({ data: [href, document] }) =>
    watches.get(href)?.hear(document, null, true);
  channel.unref?.(); // Node may end while it is open
}

function closeChannel() {
  if (!watches.size) {
    channel?.close();
    channel = null;
  }
}

/** Cancel a job that has not ended, and never forget one that has. */
async function stop(place, headers) {
  const watch = watches.get(place.href);
  const patience = new Patience();
  let tag = watch?.tag;
  let isSeen = Boolean(tag);
  for (;;) {
    const answer = isSeen
      ? await change(place, "DELETE", headers, tag)
      : await send(new Request(place, { headers: ACCEPT, ...OPTIONS }));
    if (watch?.shown?.done) {
      return watch.shown;
    }
    const { document } = answer;
    const current = watches.get(place.href);
    const isPast = document && current?.isPast(document);
    if (document?.done && !isPast) {
      current?.hear(document, answer.tag);
      return document;
    }
    if (!document) {
      await pause(patience.after(answer), answer.soonest);
    } else if (isSeen || isPast) {
      await pause(null, answer.soonest); // it was another run that was seen
    }
    tag = (isPast ? current.tag : answer.tag) ?? tag;
    isSeen ||= Boolean(isPast ? tag : document);
  }
}

// -- Requests -----------------------------------------------------------------

/** Asks for some jobs in turn, one request at a time. */
class Poll {
  #watches = new Set();
  #collection; // without one, its job is asked for by itself
  #patience = new Patience();
  #hurry = null; // ends what is waited for, for the jobs have changed
  #isHurried = false;
  #mayWait; // whether the last request might be held

  constructor(collection, watch) {
    this.#collection = collection;
    this.#watches.add(watch);
    polls.add(this);
    void this.#run();
  }

  takes(collection, { place }) {
    const fits = collection && collection === this.#collection;
    // the server answers for each once; one job may have several URLs
    const isNew = ![...this.#watches].some((it) => sid(it.place) === sid(place));
    return fits && isNew && this.#watches.size < MOST;
  }

  add(watch) {
    this.#watches.add(watch);
    this.#hasChanged();
  }

  drop(watch) {
    this.#watches.delete(watch);
    if (!this.#watches.size) {
      polls.delete(this);
      this.#hasChanged();
    }
  }

  #hasChanged() {
    this.#isHurried = true;
    this.#hurry?.();
  }

  async #run() {
    await null; // jobs of the same moment share the first request
    while (this.#watches.size) {
      this.#isHurried = false;
      const batch = [...this.#watches];
      const answer = await this.#ask(batch);
      this.#hurry = null;
      // an answer that was cut off says nothing about the server
      const isCut = this.#isHurried && !answer.status;
      const pace = isCut ? 0 : this.#take(answer, batch);
      const isOther = this.#isHurried || this.#watches.size < batch.length;
      if (this.#watches.size) {
        const wake = (hurry) => (this.#hurry = hurry);
        await pause(isOther ? null : pace, answer.soonest, wake);
      }
      this.#hurry = null;
    }
  }

  /** Ask for what differs from what is known, or wait for that. */
  #ask(batch) {
    const [first, ...others] = batch;
    const tags = batch.map(({ tag }) => tag);
    const isKnown = tags.every(Boolean);
    // the end of one may be what is not known: no waiting for the others
    const mayWait = isKnown || !(others.length || first.isWatched);
    this.#mayWait = mayWait;
    const url = new URL(others.length ? this.#collection : first.place);
    if (others.length) {
      batch.forEach(({ place }) => url.searchParams.append("sid", sid(place)));
    }
    const headers = {
      ...ACCEPT,
      ...(mayWait && { Prefer: `wait=${WAIT}` }),
      ...(isKnown && { "If-None-Match": quoted(tags.join("_")) }),
    };
    return send(new Request(url, { headers, ...OPTIONS }), (hurry) => {
      this.#hurry = () => hurry(this.#watches.size);
    });
  }

  /** Tell the jobs what came; give the pause after it. */
  #take({ body, document, ...answer }, batch) {
    const { retryAfter, status, tag } = answer;
    const isAlone = batch.length === 1;
    const documents = isAlone ? document && [document] : body?.jobs;
    const isWhole = documents?.length === batch.length;
    const isGood = status === 200 && isWhole && documents.every(Boolean);
    if (isGood || status === 304) {
      this.#patience = new Patience();
    }
    if (status === 304) {
      batch.forEach((watch) => (watch.missing = new Missing()));
      return retryAfter ?? PACE;
    }
    if (!isGood && isAlone && status === 404) {
      return this.#miss(batch[0]);
    }
    if (isGood) {
      const tags = isAlone ? [tag] : tag?.split("_");
      let missing;
      batch.forEach((watch, i) => {
        if (documents[i].status === 404) {
          missing = this.#miss(watch);
        } else if (documents[i].status === 413) {
          watch.part(); // it has ended; the answer would be too large with it
        } else {
          watch.hear(documents[i], tagOf(documents[i], tags?.[i]));
        }
      });
      // from now on the server holds its answers, which is the better pace
      const isStart = !this.#mayWait && batch.every(({ tag }) => tag);
      return missing ?? (isStart ? 0 : (retryAfter ?? PACE));
    }
    try {
      if (status === 404) {
        throw refusal({ status }); // several can never be asked for there
      }
      return this.#patience.after({ body, ...answer });
    } catch (error) {
      const isRefused = !isAlone && error.type !== "Unreachable";
      for (const watch of this.#watches) {
        if (isRefused) {
          watch.part();
        } else {
          watch.fail(error);
        }
      }
      return 0;
    }
  }

  #miss(watch) {
    watch.tag = null;
    try {
      return watch.missing.pace();
    } catch (error) {
      watch.fail(error);
    }
  }
}

/** Find who asks for jobs of the same collection, or make one. */
function join(watch) {
  const [, collection] = watch.place.href.match(/^([^?]+)\/[^/?]+$/) ?? [];
  const poll = [...polls].find((each) => each.takes(collection, watch));
  poll?.add(watch);
  return poll ?? new Poll(collection, watch);
}

const sid = ({ pathname }) => decodeURIComponent(pathname.split("/").pop());

const quoted = (tag) => `"${tag}"`;

/** Give the tag of a document; a proxy may have changed that in the header. */
const tagOf = (document, tag) => document?.version?.toString() ?? tag;

const ACCEPT = { Accept: "application/json" };
const OPTIONS = { cache: "no-store", credentials: "same-origin" };

/** Send a request that changes something, with the page's CSRF token. */
function change(url, method, headers, tag) {
  const all = new Headers({ ...ACCEPT, ...(tag && { "If-Match": quoted(tag) }) });
  const meta = globalThis.document?.querySelector('meta[name="csrf-token"]');
  if (meta && url.origin === location.origin) {
    all.set("X-CSRF-Token", meta.content);
  }
  new Headers(headers).forEach((value, name) => all.set(name, value));
  const options = { method, headers: all, keepalive: true };
  return send(new Request(url, { ...OPTIONS, ...options }));
}

/** Give what came of a request: the status 0 where there was no answer. */
async function send(request, onStart) {
  const soonest = performance.now() + CLOSEST;
  const cut = new AbortController();
  const stop = () => cut.abort();
  let timer = setTimeout(stop, LOST_AFTER);
  onStart?.((isSoon) => {
    clearTimeout(timer);
    timer = setTimeout(stop, isSoon ? soonest - performance.now() : 0);
  });
  try {
    const response = await fetch(request, { signal: cut.signal });
    const body = await response.json().catch(() => null);
    const document = typeof body?.done === "boolean" ? body : null;
    const isAbout = document || Array.isArray(body?.jobs);
    const etag = isAbout ? response.headers.get("ETag") : null;
    // it led to a form, for the login has ended
    const isLed = response.redirected && !body && response.status < 500;
    return {
      body,
      document,
      method: request.method,
      retryAfter: retryAfter(response),
      soonest,
      status: isLed ? 401 : response.status,
      tag: tagOf(document, etag?.match(/^(?:W\/)?"(.+)"$/)?.[1]),
    };
  } catch {
    return { soonest, status: 0 };
  } finally {
    clearTimeout(timer);
  }
}

/** Read the header, in seconds or as a date; `null` where it says nothing. */
function retryAfter(response) {
  const value = response.headers.get("Retry-After") ?? "";
  const time = /^\d+$/.test(value)
    ? Number(value) * 1_000
    : Date.parse(value) - Date.now();
  const within = Math.min(Math.max(time, 0), GIVE_UP_AFTER);
  return Number.isNaN(within) ? null : within;
}

// -- Patience -----------------------------------------------------------------

/** Another server process may hear of a fresh job a moment later. */
class Missing {
  #since = null;

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
class Patience {
  #failures = 0;
  #missing = new Missing();
  #paused = 0; // the sum of pauses, for a laptop may have slept through some

  /** Give the pause after an answer. @throws {JobError} It was final. */
  after(answer) {
    const { retryAfter, status } = answer;
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
    const backOff = Math.min(PACE * 2 ** this.#failures, LONGEST_BACK_OFF);
    const delay = retryAfter || backOff;
    this.#failures += 1;
    this.#paused += delay;
    return delay;
  }
}

function refusal({ status, body, method }) {
  const reason = body?.detail ?? body?.title ?? "";
  if (status === 404 || status === 410) {
    return new JobError("This job is not known, or no longer.", {
      type: "UnknownJob",
    });
  }
  if (status === 401 || status === 403) {
    const isSeen = method !== "GET" && reason;
    return new JobError(
      isSeen || "You have no access to this job. Are you logged in?",
      { type: "AccessDenied" },
    );
  }
  return new JobError(`The server answered ${status}. ${reason}`.trim(), {
    type: "HTTPError",
  });
}

/**
 * Wait, and somewhat longer; in a hidden page longer still, but only until it
 * is looked at. Without a delay there is none but what is always kept. `wake`
 * gets a function that ends the pause.
 */
function pause(delay, soonest, wake) {
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

// -- Status documents ---------------------------------------------------------

/**
 * Tell whether a document says something new if one of the two has no version.
 * Servers of the former build give such ones, while they are being replaced;
 * it can go in the version after 0.1. Progress is the job's own affair: in a
 * second phase it may begin at 0 again.
 */
function isLaterState(document, shown) {
  if (!shown || document.done) {
    return true;
  }
  const [now, before] = [document, shown].map((it) => [
    it.attempt,
    it.state === "pending" ? 0 : 1,
  ]);
  const differing = now.findIndex((value, i) => value !== before[i]);
  if (differing >= 0) {
    return now[differing] > before[differing];
  }
  return JSON.stringify(document.progress) !== JSON.stringify(shown.progress);
}

/** Call the listener; what goes wrong in it is reported, and goes no further. */
async function tell(onProgress, document) {
  try {
    await onProgress?.(document);
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}

const isSuccess = ({ state, error }) => state === "succeeded" && !error;

function failure(document) {
  const { error, state } = document;
  return new JobError(error?.detail ?? error?.title ?? `The job ${state}.`, {
    type: error?.type ?? "JobError",
    document,
  });
}
