"""Words and table for what `embed` did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genebrain.common.words import counted


def embedded_in_words(done: Mapping[str, Any]) -> str:
    """A line for the scans, the chunks of DNA and the vectors of a scan encoder; only of what was done."""
    rows = []
    scans, chunks, vectors = (done.get(name, {}) for name in ("scans", "chunks", "scan_embeddings"))
    if "n_columns" in scans:
        rows.append(("scans", f"{scans['n_stored']:,} rows of {scans['n_columns']:,} numbers, read as they are"))
    elif scans:
        left_out = scans["quarantine"]["n"] + scans["short"]["n"]
        rows.append(
            ("scans", f"{scans['n_stored']:,} of {scans['n_scans']:,} in the store, {scans['n_reused']:,} of them from "
             f"before; {left_out:,} left out (unreadable or too short)")
        )  # fmt: skip
    if "chunks_unique" in chunks:
        rows.append(
            ("chunks of DNA", f"{chunks['chunks_unique']:,} distinct of {chunks['chunks_naive']:,}; "
             f"{chunks['encoded']:,} encoded now ({chunks['tokens']:,} tokens in {chunks['seconds']:.0f} s), "
             f"{chunks['stored_before']:,} from before")
        )  # fmt: skip
    elif "dosages" in chunks:
        rows.append(("genotypes", f"allele counts of {counted(chunks['dosages'], 'variant')}; nothing to encode"))
    elif "vectors" in chunks:
        rows.append(("genomes", f"{chunks['vectors']:,} rows of {chunks['columns']:,} numbers, read as they are"))
    if "hidden_size" in vectors:
        rows.append(("scan vectors", f"of {vectors['people']:,} people, {vectors['hidden_size']:,} numbers each"))
    if waits := done.get("waits_for") or vectors.get("waits_for"):
        rows.append(("waits_for", waits))
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name.ljust(width)}  {words}" for name, words in rows) or "nothing is to be embedded"
