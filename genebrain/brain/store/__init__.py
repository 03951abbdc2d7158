"""The scan store, and the way from a table of scans to it."""
