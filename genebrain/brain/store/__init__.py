"""From a table of scans to the scan store."""
