"""The store of chunk embeddings: plan, filling, shares, tables."""
