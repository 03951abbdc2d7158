"""Functional connectivity as features: moments, covariances, tangent space."""
