"""The jobs of the scheduler in memory: call, state, run and table."""
