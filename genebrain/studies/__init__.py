"""Studies that compare arms: baselines, grids, negative controls."""
