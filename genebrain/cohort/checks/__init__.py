"""Every problem of a cohort before a run."""
