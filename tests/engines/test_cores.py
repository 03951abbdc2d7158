"""How threads wait for each other where cores are shared."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from genebrain.engines.cores import SPINS

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
ASK = """
import os, sys
from genebrain import cli, tasks
tasks.power = lambda **_: print("torch" in sys.modules, os.environ.get("GOMP_SPINCOUNT"))
sys.exit(cli.main(["power"]))
"""


@pytest.mark.parametrize(
    ("own", "wanted"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_a_verb_shortens_the_spin_before_torch_is_there_unless_the_user_says_otherwise(own, wanted):
    known = {name: value for name, value in os.environ.items() if name not in WAITING}
    told = subprocess.run([sys.executable, "-c", ASK], env=known | own, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", str(wanted)]
