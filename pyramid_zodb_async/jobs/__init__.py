"""The data of a job: its state, its options, its progress and its failure."""
