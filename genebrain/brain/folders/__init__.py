"""Scans of a folder by the names that pipelines give: BIDS derivatives, XCP-D, UK Biobank, Connectome Project."""
