/** How a job stands: what the server answers to a GET of its URL. */
export interface StatusDocument<Result = unknown> {
  sid: string;
  state: "pending" | "running" | "succeeded" | "failed" | "cancelled";
  /** Whether the job has ended. */
  done: boolean;
  progress: Progress | null;
  /** The number of the run, from 1; 0 before the first. */
  attempt: number;
  /** Grows with each change that the document shows. */
  version: number;
  /** Moments in UTC, as RFC 3339 has it. */
  scheduled: string;
  started: string | null;
  finished: string | null;
  /** When the job will be forgotten. */
  expires: string | null;
  /** What the job returned, if it has succeeded. */
  result?: Result;
  /** Why there is no result, if the job has ended without. */
  error?: Problem;
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

export interface ChangeOptions {
  /**
   * Sent with requests that change something. Without it, the content of
   * `<meta name="csrf-token">` goes as `X-CSRF-Token` to the page's own origin.
   */
  headers?: HeadersInit;
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
 * @throws {TypeError|URIError} The URL or the headers are none.
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
   * `"UnknownJob"` (it never was, has expired, or belongs to somebody else),
   * `"AccessDenied"`, `"Unreachable"` (no usable answer for five minutes and
   * more) or `"HTTPError"`.
   */
  type: string;
  /** The status document of a job that ended. */
  document: StatusDocument | null;
  constructor(
    message: string,
    about: { type: string; document?: StatusDocument | null },
  );
}
