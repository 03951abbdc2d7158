"""DNA side: letters in, chunk embeddings out."""
