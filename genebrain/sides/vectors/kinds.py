"""What a genome side can be."""

from typing import TypeAlias

from genebrain.sides.genome import GeneSide
from genebrain.sides.vectors.genes import VectorGenes

GenomeSide: TypeAlias = GeneSide | VectorGenes
