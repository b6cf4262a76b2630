"""What crosses threads and processes: calls, values and failures."""
