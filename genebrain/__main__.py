"""``python -m genebrain VERB ...`` is the same as ``genebrain VERB ...``."""

import sys

from genebrain.cli import main

sys.exit(main())
