"""One run of a job, from its claim to its commit."""
