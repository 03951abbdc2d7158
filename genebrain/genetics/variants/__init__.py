"""Scores of variants."""
