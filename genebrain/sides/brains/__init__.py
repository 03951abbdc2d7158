"""Scans of a workspace as features."""
