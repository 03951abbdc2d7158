"""The judge: arrays and ids in, evidence out. Trains nothing, reads no cohort."""
