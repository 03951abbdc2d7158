"""Encoders that are trained together with the towers."""
