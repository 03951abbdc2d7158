"""Degenerate words of the sequence whose counts tell brain latents more than allele counts do."""
