"""What compares several arms: baselines, grids, negative controls."""
