"""The jobs of the scheduler that keeps them in memory."""
