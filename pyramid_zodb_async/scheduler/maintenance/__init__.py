"""What a housekeeper thread does for jobs besides running them."""
