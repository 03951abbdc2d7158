"""Types of a genome side."""

from typing import TypeAlias

from genebrain.sides.genome import GeneSide
from genebrain.sides.vectors.genes import VectorGenes

GenomeSide: TypeAlias = GeneSide | VectorGenes
