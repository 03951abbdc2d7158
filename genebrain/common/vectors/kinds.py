"""Types of vectors that are given; imports nothing heavy, as verbs name them in their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VectorInput = Path | str | Any
"""A file, an array ``[rows, columns]`` or a pandas data frame (not named here: naming it would import pandas)."""
