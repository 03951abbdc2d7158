"""Genomes of a cohort in several readings: under masks of rare alleles, as embeddings and as dosages."""
