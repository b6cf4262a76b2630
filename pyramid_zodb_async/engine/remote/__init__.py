"""The engine for jobs that other processes run, which get messages."""
