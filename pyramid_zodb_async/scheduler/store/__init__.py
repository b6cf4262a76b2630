"""The jobs in the database: where they are, and how they change."""
