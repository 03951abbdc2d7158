"""Windows of scans: where they lie, how they are drawn and resampled."""
