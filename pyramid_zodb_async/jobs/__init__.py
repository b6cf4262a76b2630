"""What a job is: plain data that every other part knows."""
