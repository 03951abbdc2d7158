"""Cohort x encoder: the genome side, the scan side, pooling, pairs, the workspace."""
