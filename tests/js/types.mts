// What TypeScript is to accept and to refuse; tsc checks it, nothing runs it.

import {
  JobError,
  type StatusDocument,
  cancel,
  job,
  retry,
} from "pyramid-zodb-async";
import {
  type JobOutcome,
  JobProgress,
} from "pyramid-zodb-async/job-progress.js";

const { signal } = new AbortController();
const headers = { "X-CSRF-Token": "token" };

const total: number = await job<number>("/jobs/1", {
  headers,
  keep: true,
  leave: signal,
  onProgress: (document) => document.progress?.done.toFixed(),
  signal,
});
const ended: StatusDocument = await cancel(new URL("http://x/"), { headers });
await retry("/jobs/1", { signal }).catch((error) => {
  if (error instanceof JobError) {
    const parts: [string, StatusDocument | null] = [error.type, error.document];
    console.log(parts);
  }
});

const element: JobProgress = document.querySelector("job-progress")!;
element.addEventListener("job-progress", ({ detail }) => {
  const document: StatusDocument = detail;
  console.log(document.state === "pending", total, ended);
});
element.addEventListener("job-outcome", ({ detail }) => {
  const outcome: JobOutcome = detail;
  console.log(outcome.state === "unreachable", element.state);
});

// @ts-expect-error - a URL is a text
job(1);
// @ts-expect-error - there is no such option
job("/jobs/1", { timeout: 1 });
// @ts-expect-error - a document has no such state
ended.state === "done";
