"""Continuations of sequences and sequence recovery."""
