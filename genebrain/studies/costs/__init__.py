"""What a cohort will cost: stages of the work with their time and disk, from a short calibration on this machine."""
