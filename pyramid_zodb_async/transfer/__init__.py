"""How calls, values and failures are passed to other threads and processes."""
