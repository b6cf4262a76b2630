/**
 * How a job stands: what the server answers to a GET of its URL. `state` and
 * `done` tell which of the four it is.
 */
export type StatusDocument<Result = unknown> =
  | UnfinishedDocument
  | SucceededDocument<Result>
  | UnshownDocument
  | FailedDocument;

interface AnyDocument {
  sid: string;
  progress: Progress | null;
  /** The number of the run, from 1; 0 before the first. */
  attempt: number;
  /** Grows with each change that the document shows. */
  version: number;
  /** Moments in UTC, as RFC 3339 has it. */
  scheduled: string;
  started: string | null;
}

/** The job waits or runs. */
export interface UnfinishedDocument extends AnyDocument {
  state: "pending" | "running";
  done: false;
  finished: null;
  expires: null;
  result?: undefined;
  error?: undefined;
}

interface EndedDocument extends AnyDocument {
  done: true;
  finished: string;
  /** When the job will be forgotten. */
  expires: string | null;
}

/** The job has succeeded. */
export interface SucceededDocument<Result = unknown> extends EndedDocument {
  state: "succeeded";
  /** What the job returned. */
  result: Result;
  error?: undefined;
}

/** The job has succeeded, and what it returned cannot be shown. */
export interface UnshownDocument extends EndedDocument {
  state: "succeeded";
  result?: undefined;
  error: Problem;
}

/** The job has ended without a result. */
export interface FailedDocument extends EndedDocument {
  state: "failed" | "cancelled";
  result?: undefined;
  /** Why there is none. */
  error: Problem;
}

export interface Progress {
  done: number;
  total: number | null;
  message: string | null;
}

export interface Problem {
  /** The name of the exception. */
  type: string;
  title: string;
  /** A sentence for people. */
  detail?: string;
}

/** How the server is asked. Jobs for which this is the same share requests. */
export interface RequestOptions {
  /**
   * Sent with each request. A function is called before each, and once more
   * after an answer 401. If it throws, that request counts as one without an
   * answer, and is made again later; a `JobError` ends the waiting.
   */
  headers?:
    | HeadersInit
    | (() => HeadersInit | undefined | Promise<HeadersInit | undefined>);
  /** Whether cookies are sent: `"same-origin"` unless this says otherwise. */
  credentials?: RequestCredentials;
  /** Called in place of the global `fetch`, with a `Request`. */
  fetch?: (request: Request) => Promise<Response>;
}

export interface ChangeOptions extends RequestOptions {
  /**
   * Sent with requests that change something, besides `headers`. Without it,
   * the content of `<meta name="csrf-token">` goes as `X-CSRF-Token` to the
   * page's own origin.
   */
  changeHeaders?: HeadersInit;
  /**
   * Called with `false` when there has been no connection to the server for
   * three seconds, and with `true` when there is one again.
   */
  onConnection?: (isConnected: boolean) => unknown;
}

export interface JobOptions<Result = unknown> extends ChangeOptions {
  /**
   * Called with the status document as it is at first, and whenever state or
   * progress changed, the last time with that of the finished job. No older
   * document follows a newer one. A job that is to be repeated or tried again
   * is pending once more.
   */
  onProgress?: (document: StatusDocument<Result>) => unknown;
  /**
   * Cancels the job. The promise is rejected with the signal's reason when the
   * job has been cancelled; if it had ended before, it tells how.
   */
  signal?: AbortSignal;
  /** Ends the waiting with its reason; the job goes on. */
  leave?: AbortSignal;
  /**
   * Leave the result on the server until it expires. Without it, the server is
   * asked to forget a job whose result has come. A job that failed or was
   * cancelled always stays.
   */
  keep?: boolean;
}

/**
 * Wait for a job, and give what it returned.
 *
 * Lost answers, an overloaded server and one that restarts are waited for.
 * Jobs of the same page share their requests.
 *
 * @param url The job's own: the `Location` of the 202 answer.
 * @throws {JobError} The job failed, was cancelled, or is unknown.
 * @throws {TypeError|URIError} The URL or an option is none.
 */
export function job<Result = unknown>(
  url: string | URL,
  options?: JobOptions<Result>,
): Promise<Result>;

/**
 * Cancel a job that has not ended, and give its last status document. If the
 * job had ended before, that tells how.
 *
 * @throws {JobError} It is unknown, or may not be cancelled.
 */
export function cancel(
  url: string | URL,
  options?: ChangeOptions,
): Promise<StatusDocument>;

/**
 * Have a job that failed run again, and wait for it as `job` does. A job that
 * somebody else has retried is only waited for.
 *
 * @throws {JobError} What `job` throws, or the job may not be retried.
 */
export function retry<Result = unknown>(
  url: string | URL,
  options?: JobOptions<Result>,
): Promise<Result>;

/** Why there is no result. `message` is meant for people. */
export class JobError extends Error {
  name: "JobError";
  /**
   * The name of the exception that failed the job, `"JobCancelled"`,
   * `"JobUndone"` (what it did was undone, and it can be retried),
   * `"UnknownJob"` (it never was, has expired, or belongs to somebody else,
   * also because a login has ended that came by a cookie), `"LoginEnded"` (the
   * answer was 401, or led elsewhere), `"AccessDenied"`, `"PageOutdated"` (the
   * CSRF token of the page is not that of the login any more), `"Unreachable"`
   * (no usable answer for five minutes and more) or `"HTTPError"`.
   */
  type: string;
  /** The status document of a job that ended. */
  document: StatusDocument | null;
  constructor(
    message: string,
    about: { type: string; document?: StatusDocument | null },
  );
}
