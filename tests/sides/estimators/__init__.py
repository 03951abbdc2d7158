"""Tests of the sides of estimators."""
