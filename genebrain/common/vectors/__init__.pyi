from .columns import READING as READING, Windows as Windows, readings_of as readings_of, windows_of as windows_of
from .given import table_of as table_of
from .kinds import VectorInput as VectorInput
from .read import VectorTable as VectorTable, read_vectors as read_vectors
from .write import write_vectors as write_vectors

__all__: list[str]
