"""Simulated genomes: linkage, families, awkward records, and their files."""
