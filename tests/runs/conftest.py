"""Fixtures of this room."""

from tests.pictures import blank_pictures

__all__ = ["blank_pictures"]
