import type { JobError, StatusDocument } from "./jobs.js";

/** What came of a job, when that is known. */
export interface JobOutcome<Result = unknown> {
  state: JobProgressState;
  /** What the job returned, if it has succeeded. */
  result?: Result;
  /** Why there is no result. */
  error: JobError | Error | null;
  /** `null` where nothing is known of the job. */
  document: StatusDocument<Result> | null;
}

/** How the job stands, or why that is not known; also the attribute `state`. */
export type JobProgressState =
  | StatusDocument["state"]
  | "unknown"
  | "denied"
  | "unreachable"
  | "error";

export interface JobProgressEventMap {
  /** There is news of the job; `detail` is the status document. */
  "job-progress": CustomEvent<StatusDocument>;
  /**
   * The job has ended, or nobody knows. If this is cancelled, the page does not
   * go to what the attribute `next` names.
   */
  "job-outcome": CustomEvent<JobOutcome>;
}

/**
 * `<job-progress>`.
 *
 * Attributes: `src` (the URL of the job), `label` (whose progress this is),
 * `next` (where to go when the job has succeeded), `readonly` (no buttons),
 * `forget` (the server need not keep the result), `csrf-token` and
 * `csrf-header` (sent with changes), and the texts `text-label`, `text-cancel`,
 * `text-retry`, `text-pending`, `text-running`, `text-cancelling`,
 * `text-succeeded`, `text-failed`, `text-cancelled`, `text-unknown`,
 * `text-denied`, `text-unreachable`, `text-error`.
 *
 * Slots: `cancel` and `retry`, for what the buttons show.
 *
 * Parts: `label`, `bar`, `fill`, `row`, `message`, `figures`, `cancel`, `retry`.
 *
 * Custom properties: `--job-progress-color`, `--job-progress-succeeded`,
 * `--job-progress-failed`, `--job-progress-track`, `--job-progress-height`,
 * `--job-progress-radius`.
 */
export class JobProgress extends HTMLElement {
  readonly state: JobProgressState | undefined;
  addEventListener<Name extends keyof JobProgressEventMap>(
    type: Name,
    listener: (this: JobProgress, event: JobProgressEventMap[Name]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "job-progress": JobProgress;
  }
  interface HTMLElementEventMap extends JobProgressEventMap {}
}
