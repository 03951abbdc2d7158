"""Options that take a path or a word take the text as typed."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from genebrain.common.types import UserError
from genebrain.config import compose

TYPED = [
    ("fit", "run=4711", "4711"),
    ("fit", "run=007", "007"),
    ("fit", "run=1e5", "1e5"),
    ("fit", "run=1_000", "1_000"),
    ("fit", "run=null", "null"),
    ("fit", "store=true", "true"),
    ("fit", "store=null", None),  # may be nothing
    ("fit", "cohort.path=2024", "2024"),
    ("report", "run=nan", "nan"),
    ("plan", "out=0x10", "0x10"),
    ("finetune", "out=12", "12"),
    ("embed-scans", "task=1", "1"),
    ("embed-scans", "space=off", "off"),
    ("simulate", "tier=null", "null"),
    ("simulate", "n_subjects=100", 100),
    ("evaluate", "strata=12", "12"),
    ("evaluate", "strata=[site,2024]", ["site", "2024"]),
    ("evaluate", "comparisons=ridge_cca", ["ridge_cca"]),
    ("evaluate", "gallery_size=null", None),
    ("evaluate", "gallery_size=16", 16),
    ("fit", "trainer.loggers=csv", ["csv"]),
    ("fit", "trainer.devices=2", 2),
    ("fit", "brain.cleaning.confound_columns=[1,csf]", ["1", "csf"]),
    ("fit", "run='a b'", "a b"),
    ("fit", "run=2024-01-01", "2024-01-01"),
    ("fit", "run=12:30", "12:30"),
    ("fit", "run=[2024]", "[2024]"),
    ("fit", "run=[a,b]", "[a,b]"),
    ("fit", "run={a: 1}", "{a: 1}"),
    ("report", "run=[x]", "[x]"),
    ("plan", "out=[z]", "[z]"),
    ("search", "genome=1e5", "1e5"),  # ids are words: 1_0 is not person 10
    ("search", "genome=1_0", "1_0"),
    ("search", "genome=true", "true"),
    ("search", "scan=2024-01-01", "2024-01-01"),
    ("search", "scan=.5", ".5"),
    ("search", "scan=null", None),
]


@pytest.mark.parametrize(("verb", "typed", "wanted"), TYPED)
def test_text_stays_text_where_text_is_wanted(verb: str, typed: str, wanted: object) -> None:
    needed = {"report": [], "plan": [], "simulate": ["out=x"], "embed-scans": ["input=x", "out=x"]}
    needed["finetune"] = ["input=x"]
    given = [typed, *(o for o in needed.get(verb, []) if o.partition("=")[0] != typed.partition("=")[0])]
    found = OmegaConf.select(compose(verb, given), typed.partition("=")[0])
    found = list(found) if OmegaConf.is_list(found) else found
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(("verb", "typed"), [("fit", "run="), ("report", "run="), ("plan", "out="), ("fit", "store=")])
def test_a_path_is_never_empty(verb: str, typed: str) -> None:
    """An empty variable of a script must not make the folder of the caller a run folder."""
    with pytest.raises(UserError, match=f"{typed} is empty: a path is wanted"):
        compose(verb, [typed])


def test_numbers_are_still_asked_for() -> None:
    with pytest.raises(UserError, match="seed=x: a number is wanted"):
        compose("fit", ["seed=x"])
