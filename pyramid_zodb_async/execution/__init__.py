"""The execution of one run of a job, from its claim to its commit."""
