"""Controls of a fitted run: what must give chance, and what simpler readings of the genome give."""
