"""genebrain aligns a person's genome with the same person's brain activity, and judges the alignment honestly.

The verbs of the command line are functions of :mod:`genebrain.tasks`; nothing heavy is imported until one is used.
"""

__version__ = "0.1.0"
