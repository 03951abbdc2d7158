"""Files of vectors: one or several rows of numbers per person, with ids and names of columns."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
