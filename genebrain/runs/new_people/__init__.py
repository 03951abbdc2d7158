"""People who are in no cohort of a run, through its fitted model: genotypes alone, scans alone, vectors alone."""
