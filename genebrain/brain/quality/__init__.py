"""Quality of scans on one page."""
