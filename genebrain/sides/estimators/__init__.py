"""Scan features by an estimator with the fit and transform of scikit-learn, from nilearn or from a user's file."""
