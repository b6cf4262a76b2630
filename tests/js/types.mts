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
  type JobProgressProps,
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

document.addEventListener("job-outcome", ({ detail }) => {
  const outcome: JobOutcome = detail;
  console.log(outcome.state === "login-ended");
});
window.addEventListener("job-progress", ({ detail }) => detail.version);
document.body.addEventListener("job-progress", ({ detail }) => detail.done);
element.addEventListener("click", ({ clientX }) => clientX);

element.src = new URL("http://x/");
element.src = null;
const src: string = element.src;
element.label = src;
element.next = undefined;
element.readonly = !element.readonly;
element.headers = async () => ({ Authorization: "Bearer token" });
element.headers = { Authorization: "Bearer token" };
element.credentials = "include";
element.fetch = async (request) => fetch(request);
element.fetch = null;

const drawn: JSX.IntrinsicElements["job-progress"] = {
  src: "/jobs/1",
  label: "Stock",
  readonly: true,
  headers: () => ({ Authorization: "Bearer token" }),
  "text-cancel": "Stop",
  "onjob-outcome": ({ detail }) => detail.state,
};
const props: JobProgressProps = drawn;
console.log(props.label);

// @ts-expect-error - it is a yes or no
element.readonly = "yes";
// @ts-expect-error - it is called, or there is none
element.fetch = "no";
// @ts-expect-error - the element alone knows it
element.state = "failed";
// @ts-expect-error - there is no such attribute
drawn.source = "/jobs/1";

await job("/jobs/1", {
  changeHeaders: headers,
  credentials: "include",
  fetch: (request) => fetch(request),
  headers: async () => [["Authorization", "Bearer token"]],
  onConnection: (isConnected) => console.log(isConnected && 1),
  onProgress: (document) => {
    if (!document.done) {
      const unfinished: "pending" | "running" = document.state;
      const moment: null = document.finished;
      const none: undefined = document.result;
      console.log(unfinished, moment, none);
    } else if (document.error) {
      const { title }: { title: string } = document.error;
      console.log(title, document.finished.length);
    } else {
      const succeeded: "succeeded" = document.state;
      console.log(succeeded, document.result);
    }
  },
});
await job<number>("/jobs/1", {
  headers: () => undefined,
  onProgress: (document) => {
    switch (document.state) {
      case "failed":
      case "cancelled":
        return document.error.title;
      case "succeeded":
        return document.error ? document.error.type : document.result + 1;
      default:
        return document.progress?.message;
    }
  },
});

// @ts-expect-error - an unfinished job has no result
if (!ended.done) ended.result!.valueOf();
// @ts-expect-error - nor has one that failed
if (ended.state === "failed") ended.result!.valueOf();
// @ts-expect-error - credentials are one of three
job("/jobs/1", { credentials: "always" });
// @ts-expect-error - to cancel is not to wait
cancel("/jobs/1", { keep: true });
// @ts-expect-error - a URL is a text
job(1);
// @ts-expect-error - there is no such option
job("/jobs/1", { timeout: 1 });
// @ts-expect-error - a document has no such state
ended.state === "done";
