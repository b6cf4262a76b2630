"""The jobs of this process: what it runs, and what it tells of them."""
