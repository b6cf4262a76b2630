"""The engines, which get committed jobs run."""
