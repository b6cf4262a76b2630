"""What threads and processes need whatever they do: nothing of jobs."""
