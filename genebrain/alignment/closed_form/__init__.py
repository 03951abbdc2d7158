"""The closed form: regression from gene columns to brain latents, its choice and score."""
