"""What gets committed jobs run."""
