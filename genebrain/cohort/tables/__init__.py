"""Tables of a cohort: files, sources, names and their problems."""
