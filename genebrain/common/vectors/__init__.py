"""Files of vectors: one or several rows of numbers per person, with ids and names of columns."""

from genebrain.common.vectors.columns import Windows, windows_of
from genebrain.common.vectors.given import VectorInput, table_of
from genebrain.common.vectors.read import VectorTable, read_vectors
from genebrain.common.vectors.write import write_vectors

__all__ = ["VectorInput", "VectorTable", "Windows", "read_vectors", "table_of", "windows_of", "write_vectors"]
