/**
 * What an application may write with the types of the OpenAPI description.
 *
 * node client.js BASE wait|cancel|retry SID; each document is a line of JSON.
 */

import createClient from "openapi-fetch";
import type { components, paths } from "./jobs.js";

declare const process: { argv: string[] };

type Job = components["schemas"]["Job"];
type Problem = components["schemas"]["Problem"];

const [base = "", action = "", sid = ""] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: base });
const path = { sid };

/** Take a problem for the end of all; what else there is is a document. */
function asJob(answer: Job | Problem | undefined): Job {
  if (!answer || !("state" in answer)) {
    throw new Error(answer ? answer.detail : "no answer");
  }
  return answer;
}

/** Show a document; the types know which one has what. */
function show(job: Job): Job {
  const { state, version } = job;
  const message = job.progress?.message ?? null;
  const line = { state, version, message, outcome: outcomeOf(job) };
  console.log(JSON.stringify(line));
  return job;
}

function outcomeOf(job: Job): unknown {
  switch (job.state) {
    case "pending":
    case "running":
      return null;
    case "succeeded":
      return job.error ? job.error.title : job.result;
    case "failed":
    case "cancelled":
      return job.error.type;
    default: {
      const none: never = job;
      return none;
    }
  }
}

async function look(header: { Prefer?: string; "If-None-Match"?: string } = {}) {
  const params = { path, header };
  const { data, error, response } = await client.GET("/jobs/{sid}", { params });
  return response.status === 304 ? null : asJob(data ?? error);
}

/** Wait for the end; a 304 says that nothing has changed. */
async function wait(): Promise<void> {
  let job = await look();
  while (job && !show(job).done) {
    const known = `"${job.version}"`;
    job =
      (await look({ Prefer: "wait=5", "If-None-Match": known })) ?? job;
  }
}

/** Cancel the job as it was seen. */
async function cancel(): Promise<void> {
  const job = await look();
  const header = { "If-Match": `"${job?.version}"` };
  const { data, error } = await client.DELETE("/jobs/{sid}", {
    params: { path, header },
  });
  show(asJob(data ?? error));
}

async function retry(): Promise<void> {
  const { data, error, response } = await client.POST("/jobs/{sid}/retry", {
    params: { path },
  });
  show(asJob(data ?? error));
  if (response.status === 202) {
    await wait();
  }
}

const actions: Record<string, () => Promise<void>> = { cancel, retry, wait };
await actions[action]?.();
