"""Where the jobs are in the database, and how their records change."""
