"""Filters in time that all parcels share, learned from scans."""
