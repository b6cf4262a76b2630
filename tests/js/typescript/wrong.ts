// What the types refuse. Each comment names the error of its line.

import createClient from "openapi-fetch";
import type { components, paths } from "./jobs.js";

declare const job: components["schemas"]["Job"];
declare const listed: components["schemas"]["ListedJob"];
const client = createClient<paths>({ baseUrl: "" });

export const parts = [
  job.result, // TS2339
  job.state === "done", // TS2367
  job.state === "pending" && job.error, // TS2339
  job.state === "succeeded" && job.error.title, // TS18048
  job.state === "failed" && job.result, // TS2339
  job.state === "cancelled" && job.finished.length,
  listed.state, // TS2339
  "status" in listed && listed.state, // TS2339
  "state" in listed && listed.version,
  await client.GET("/jobs/{sid}"), // TS2554
  await client.GET("/jobs/{sid}/retry", { params: { path: { sid: "" } } }), // TS2345
];

export function outcomeOf(): unknown {
  switch (job.state) {
    case "pending":
    case "running":
    case "succeeded":
    case "cancelled":
      return null;
    default: {
      const none: never = job; // TS2322
      return none;
    }
  }
}
