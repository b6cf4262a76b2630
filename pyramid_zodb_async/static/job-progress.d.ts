import type { JobError, RequestOptions, StatusDocument } from "./jobs.js";

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
  | "login-ended"
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
 * `text-retrying`, `text-succeeded`, `text-failed`, `text-again`,
 * `text-cancelled`, `text-unknown`, `text-denied`, `text-login-ended`,
 * `text-outdated`, `text-offline`, `text-unreachable`, `text-error`. It sets
 * `state`, and `offline` while there is no connection.
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

  // These are the attributes; `null` and `undefined` take one away.
  get src(): string;
  set src(value: string | URL | null | undefined);
  get label(): string;
  set label(value: string | null | undefined);
  get next(): string;
  set next(value: string | URL | null | undefined);
  get readonly(): boolean;
  set readonly(value: boolean | null | undefined);

  // How the server is asked, as in the options of `job`; another way holds at
  // once. A function should be the same each time, and not a new one.
  get headers(): RequestOptions["headers"];
  set headers(value: RequestOptions["headers"] | null);
  get credentials(): RequestOptions["credentials"];
  set credentials(value: RequestOptions["credentials"] | null);
  get fetch(): RequestOptions["fetch"];
  set fetch(value: RequestOptions["fetch"] | null);

  addEventListener<
    Name extends keyof (JobProgressEventMap & HTMLElementEventMap),
  >(
    type: Name,
    listener: (
      this: JobProgress,
      event: (JobProgressEventMap & HTMLElementEventMap)[Name],
    ) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** What JSX takes for `<job-progress>`, beside what all elements have. */
export interface JobProgressProps extends RequestOptions {
  src?: string | URL | null;
  label?: string | null;
  next?: string | URL | null;
  readonly?: boolean | null;
  forget?: boolean | "";
  "csrf-token"?: string;
  "csrf-header"?: string;
  [text: `text-${string}`]: string | undefined;
  "onjob-progress"?: (event: JobProgressEventMap["job-progress"]) => void;
  "onjob-outcome"?: (event: JobProgressEventMap["job-outcome"]) => void;
  children?: any;
  class?: string;
  className?: string;
  hidden?: boolean;
  id?: string;
  key?: string | number | bigint | null;
  lang?: string;
  ref?: any;
  slot?: string;
  style?: any;
  title?: string;
  [other: `${"aria" | "data"}-${string}`]: any;
}

/** With what an element has in a framework, `onClick` for instance. */
type PropsWith<All> = JobProgressProps & Omit<All, keyof JobProgressProps>;

declare global {
  interface HTMLElementTagNameMap {
    "job-progress": JobProgress;
  }
  // of elements, the document and the window
  interface GlobalEventHandlersEventMap extends JobProgressEventMap {}
  namespace JSX {
    interface IntrinsicElements {
      "job-progress": JobProgressProps;
    }
  }
}

// Whichever is not installed is no error here.
// @ts-ignore
declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      // @ts-ignore
      "job-progress": PropsWith<HTMLAttributes<JobProgress>>;
    }
  }
}
// @ts-ignore
declare module "preact" {
  namespace JSX {
    interface IntrinsicElements {
      // @ts-ignore
      "job-progress": PropsWith<import("preact").HTMLAttributes<JobProgress>>;
    }
  }
}
// @ts-ignore
declare module "solid-js" {
  namespace JSX {
    interface IntrinsicElements {
      // @ts-ignore
      "job-progress": PropsWith<HTMLAttributes<JobProgress>>;
    }
  }
}
