"""SwiFT."""
