"""The side of Pyramid: what requests do with jobs, and their resource."""
