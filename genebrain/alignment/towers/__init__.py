"""Two towers: projectors, standardisers, poolings, closed-form heads."""
