"""What is done for jobs beside running them, on a thread of its own."""
