"""Haplotypes as distinct chunks cut at reference coordinates."""
