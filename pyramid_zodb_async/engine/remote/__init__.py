"""Has other processes run jobs, by messages to them."""
