"""BrainLM, both families."""
