/**
 * Waiting in a page (or a worker, or Node) for a job of pyramid_zodb_async.
 *
 *     import { job, JobError } from "/jobs/static/jobs.js";
 *
 *     const answer = await fetch("/reports", { method: "POST" });
 *     const result = await job(answer.headers.get("Location"), {
 *       onProgress: ({ progress }) => console.log(progress?.message),
 *     });
 */

// All times are in milliseconds.
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

/**
 * Why there is no result. `message` is meant for people.
 *
 * @property {string} type The name of the exception that failed the job,
 *   `"JobCancelled"`, `"UnknownJob"` (it never was, has expired, or belongs to
 *   somebody else), `"AccessDenied"`, `"Unreachable"` (no usable answer for
 *   five minutes and more) or `"HTTPError"`.
 * @property {?object} document The status document of a job that ended.
 */
export class JobError extends Error {
  constructor(message, { type, document = null }) {
    super(message);
    this.name = "JobError";
    this.type = type;
    this.document = document;
  }
}

/**
 * Wait for a job, and give what it returned.
 *
 * Lost answers, an overloaded server and one that restarts are waited for.
 *
 * @param {string|URL} url The job's own: the `Location` of the 202 answer.
 * @param {object} [options]
 * @param {function(object)} [options.onProgress] Called with the status
 *   document whenever state or progress changed, the last time with that of
 *   the finished job. Within an attempt no earlier state follows a later.
 * @param {AbortSignal} [options.signal] Ends the waiting, not the job; the
 *   promise is rejected with the signal's reason.
 * @returns {Promise<*>} The job's result.
 * @throws {JobError} The job failed, was cancelled, or is unknown.
 */
export async function job(url, { onProgress, signal } = {}) {
  if (!url) {
    throw new TypeError(
      "job() needs the URL of the job. An answer without a Location header" +
        " made no job; look at its status first.",
    );
  }
  const patience = new Patience();
  let shown = null;
  for (;;) {
    signal?.throwIfAborted();
    const asked = performance.now();
    const answer = await ask(url, signal);
    signal?.throwIfAborted();
    const { document } = answer;
    if (document && isNews(document, shown)) {
      shown = document;
      tell(onProgress, document);
    }
    if (document?.done) {
      return outcome(document);
    }
    await pause(patience.after(answer), asked + CLOSEST, signal);
  }
}

/** Ask once. An answer that did not come has the status 0. */
async function ask(url, signal) {
  const fetching = new AbortController();
  const request = new Request(url, {
    cache: "no-store",
    credentials: "same-origin",
    headers: { Accept: "application/json" },
    signal: fetching.signal,
  });
  const stop = () => fetching.abort();
  const timer = setTimeout(stop, LOST_AFTER);
  signal?.addEventListener("abort", stop);
  try {
    const response = await fetch(request);
    const body = await response.json().catch(() => null);
    const isDocument = response.ok && typeof body?.done === "boolean";
    return {
      body,
      document: isDocument ? body : null,
      retryAfter: retryAfter(response),
      status: response.status,
    };
  } catch {
    return { body: null, document: null, retryAfter: null, status: 0 };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
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

/** How long to wait for the next look, and when there is no use in one. */
class Patience {
  #failures = 0;
  #paused = 0; // the sum of pauses, for a laptop may have slept through some
  #missingSince = null;

  /** Give the pause after an answer. @throws {JobError} It was final. */
  after({ body, document, retryAfter, status }) {
    const now = performance.now();
    if (document) {
      this.#failures = this.#paused = 0;
      this.#missingSince = null;
      return retryAfter ?? PACE;
    }
    if (status === 404) {
      // Another server process may hear of a fresh job a moment later.
      this.#missingSince ??= now;
      if (now - this.#missingSince < MISSING_FOR) {
        return MISSING_PACE;
      }
    }
    if (status >= 400 && status < 500 && !PASSING.includes(status)) {
      throw refusal(status, body);
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

function refusal(status, problem) {
  if (status === 404 || status === 410) {
    return new JobError("This job is not known, or no longer.", {
      type: "UnknownJob",
    });
  }
  if (status === 401 || status === 403) {
    return new JobError("You have no access to this job. Are you logged in?", {
      type: "AccessDenied",
    });
  }
  const reason = problem?.detail ?? problem?.title ?? "";
  return new JobError(`The server answered ${status}. ${reason}`.trim(), {
    type: "HTTPError",
  });
}

/**
 * Tell whether a document says something new. It may say something old when
 * another server process gave it, or when a conflict made the job start over.
 * Progress is the job's own affair: in a second phase it may begin at 0 again.
 */
function isNews(document, shown) {
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

function outcome(document) {
  const { error, result, state } = document;
  if (state === "succeeded" && !error) {
    return result;
  }
  throw new JobError(error?.detail ?? error?.title ?? `The job ${state}.`, {
    type: error?.type ?? "JobError",
    document,
  });
}

/**
 * Wait, and somewhat longer; in a hidden page longer still, but only until it
 * is looked at. The end of the waiting by `signal` is for the caller to see.
 */
function pause(delay, soonest, signal) {
  const page = globalThis.document;
  const pace = page?.hidden ? Math.max(delay, HIDDEN_PACE) : delay;
  return new Promise((resolve) => {
    let timer;
    const end = () => {
      clearTimeout(timer);
      page?.removeEventListener("visibilitychange", look);
      signal?.removeEventListener("abort", end);
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
    signal?.addEventListener("abort", end);
    if (signal?.aborted) {
      end(); // the listener above comes too late
    }
  });
}
