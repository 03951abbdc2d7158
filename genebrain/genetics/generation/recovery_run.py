"""A run of the recovery benchmark: continue every sequence, compare with what truly follows, write the table.

``report.json`` is written last, when every sequence has a prediction: a share of the work that failed is an error,
never a score of nought. Parts on disk let a killed run go on, in any number of processes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from genebrain.common.files import make_private, write_private
from genebrain.common.reading import read_record
from genebrain.common.types import Metrics
from genebrain.genetics.generation.continuation import Prompt, check_length, last_six_mers
from genebrain.genetics.generation.recovery import accuracy_table, matching_share, most_frequent_base, read_recovery_set
from genebrain.genetics.generation.run import check_counts, continued, identity_of, write_table
from genebrain.genetics.generation.sampling import SamplingSettings
from genebrain.genetics.model.language_model import GeneratorLanguageModel
from genebrain.genetics.model.tokenizer import K
from genebrain.genetics.sequences.hygiene import Uracil
from genebrain.genetics.store.work_parts import Shard, WorkParts, drop_merged, refuse_other_work

log = logging.getLogger(__name__)


def recover_file(
    source: Path,
    out: Path,
    model: GeneratorLanguageModel,
    settings: SamplingSettings,
    *,
    column: str | None = None,
    uracil: Uracil = "error",
    label_column: str = "label",
    type_column: str | None = None,
    n_bp: int = 30,
    max_prompt_bp: int = 6144,
    seed: int = 0,
    tokens_per_batch: int | None = None,
    shard: Shard | None = None,
    progress: bool = True,
) -> Metrics | None:
    """Continue the sequences of a benchmark and compare with what truly follows.

    Returns
    -------
    dict or None
        What ``report.json`` in the folder ``out`` holds, beside ``accuracy.tsv`` and ``predictions.tsv``; None while
        parts of other shards are not there yet.
    """
    check_counts(n_bp=n_bp, six_mers_of_a_prompt=max_prompt_bp // K)
    data = read_recovery_set(
        source, n_bp, column=column, label_column=label_column, type_column=type_column, uracil=uracil
    )
    rows = [Prompt(last_six_mers(text, max_prompt_bp), record) for record, text in enumerate(data.sequences)]
    check_length(model, rows, n_bp)
    truth = hashlib.blake2b("\n".join([*data.labels, *data.types]).encode(), digest_size=16).hexdigest()
    identity = {
        **identity_of(model, rows, tokens_per_batch),
        **asdict(settings),
        "seed": seed,
        "n_bp": n_bp,
        "max_prompt_bp": max_prompt_bp,
        "truth": truth,
    }
    result_path = out / "report.json"
    if result_path.exists():
        done: Metrics = read_record(result_path, f"delete {out} and run the same command again")
        refuse_other_work(done.get("identity") or {}, identity, out)
        drop_merged(out / "parts")
        if progress:
            log.info(f"{out} is there already; delete it to test again")
        return done
    make_private(out)
    parts = WorkParts(out / "parts", identity)
    with continued(model, rows, n_bp, settings, seed, parts, tokens_per_batch, shard or Shard(), progress) as made:
        if made is None:
            return None
        accuracy = np.array([matching_share(p, label, n_bp) for p, label in zip(made, data.labels, strict=True)])
        guessed = [most_frequent_base(row.letters) * n_bp for row in rows]
        baseline = np.array([matching_share(g, label, n_bp) for g, label in zip(guessed, data.labels, strict=True)])
        table = accuracy_table(accuracy, baseline, data.types, n_bp)
        predictions = pd.DataFrame(
            {
                "id": data.ids,
                "type": data.types,
                "prompt_bp": [len(row.letters) for row in rows],
                "label": [label[:n_bp] for label in data.labels],
                "prediction": made,
                "accuracy": accuracy,
            }
        )
        write_table(out / "predictions.tsv", predictions)
        write_table(out / "accuracy.tsv", table)
        result: Metrics = {
            "n_sequences": len(rows),
            "n_bp": n_bp,
            "accuracy": table.to_dict("records"),
            "prompts": data.hygiene.as_dict(),
            "identity": identity,
        }
        write_private(result_path, json.dumps(result, indent=1).encode())
        parts.remove()
        return result
