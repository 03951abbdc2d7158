"""Scan encoders behind one face: sizes, construction, files, frozen embeddings."""
