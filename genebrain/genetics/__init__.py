"""DNA side: letters in, chunk embeddings out. Knows nothing of scans, subjects' traits or losses."""
