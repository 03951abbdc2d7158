"""BrainMT."""
