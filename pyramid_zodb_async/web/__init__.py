"""What requests do with jobs, and the resource of a job over HTTP."""
