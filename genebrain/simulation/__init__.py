"""Known-answer cohorts: genomes, traits and scans whose best possible score is known."""
