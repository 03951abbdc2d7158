"""Published scan encoders, number for number."""
