"""One function per verb: what the command line does, usable in a notebook.

>>> from genebrain import tasks
>>> run = tasks.fit(cohort="my_cohort/cohort.yaml", run="runs/first")
>>> metrics = tasks.evaluate(run=run)

Each takes plain values and settings objects (all with defaults) and returns what it wrote or found. A verb with a
hyphen is a function and a file with an underscore: ``embed-scans`` is ``tasks.embed_scans`` and
``configs/embed_scans.yaml``.
"""

from genebrain.tasks.alignment import ablate, embed, evaluate, fit, report, simulate
from genebrain.tasks.before import check, plan, power
from genebrain.tasks.care import forget, store
from genebrain.tasks.controls import compare, controls
from genebrain.tasks.finetuning import finetune
from genebrain.tasks.pretraining import pretrain, probe
from genebrain.tasks.scans import convert_scan_encoder, embed_scans, scan_report
from genebrain.tasks.sequences import embed_sequences, models
from genebrain.tasks.variants import generate, recover, score_variants
from genebrain.tasks.vectors import export, search

__all__ = [
    "ablate",
    "check",
    "compare",
    "controls",
    "convert_scan_encoder",
    "embed",
    "embed_scans",
    "embed_sequences",
    "evaluate",
    "export",
    "finetune",
    "fit",
    "forget",
    "generate",
    "models",
    "plan",
    "power",
    "pretrain",
    "probe",
    "recover",
    "report",
    "scan_report",
    "score_variants",
    "search",
    "simulate",
    "store",
]
