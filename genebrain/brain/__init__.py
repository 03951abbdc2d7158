"""Scan side: NIfTI or parcel tables in, scan features out."""
