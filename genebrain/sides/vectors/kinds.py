"""What a genome side can be."""

from genebrain.sides.genome import GeneSide
from genebrain.sides.vectors.genes import VectorGenes

GenomeSide = GeneSide | VectorGenes
