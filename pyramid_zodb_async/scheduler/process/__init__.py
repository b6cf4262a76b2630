"""The jobs that this process runs, and what it reports of them."""
