"""Scan side: NIfTI or parcel tables in, scan features out. Knows nothing of genomes or losses."""
