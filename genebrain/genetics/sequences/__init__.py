"""Vectors of sequences of a file."""
