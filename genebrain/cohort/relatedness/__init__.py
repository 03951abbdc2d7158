"""Relatives: declared families, kinship, genome-wide checks."""
