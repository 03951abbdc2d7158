"""Slow or published forms of what the package computes otherwise: the right answers of tests."""
