"""Sides that are files of vectors: genomes and scans that somebody else has embedded."""
