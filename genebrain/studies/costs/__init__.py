"""Costs of a study: stages with their time and disk, from a short calibration on this machine."""
