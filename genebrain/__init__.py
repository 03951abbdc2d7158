"""Alignment of a person's genome with the same person's brain activity, judged honestly.

>>> import genebrain
>>> cohort = genebrain.simulate("runs/demo", tier="smoke")          # doctest: +SKIP
>>> run = genebrain.fit(cohort, run="runs/demo-fit")                # doctest: +SKIP
>>> print(genebrain.evaluate(run)["verdict"])                       # doctest: +SKIP

The verbs of the command line are functions here; the towers, losses, poolings, encoders, features and settings that
a researcher names are here too (``dir(genebrain)``). Each is imported at its first use, so importing the package costs
nothing. ``__init__.pyi`` lists every name with its home.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
