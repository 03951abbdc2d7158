"""Names of the parcels of a store, where the files have them: columns are the same only if their names are."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from genebrain.common.files import write_private


def keep_names(folder: Path, names: list[str]) -> str:
    """Write ``parcels-KEY.tsv`` into a store, once; returns the key: equal names in equal order, equal keys."""
    clean = [" ".join(name.split()) for name in names]
    key = hashlib.blake2b("\n".join(clean).encode(), digest_size=6).hexdigest()
    path = folder / f"parcels-{key}.tsv"
    if not path.is_file():
        lines = ["column\tname", *(f"{column}\t{name}" for column, name in enumerate(clean, start=1))]
        write_private(path, ("\n".join(lines) + "\n").encode())
    return key


def quarantine_other_names(records: list[dict[str, Any]]) -> None:
    """Fail stored scans whose parcels have other names, or another order, than those of most scans that have names."""
    keys = Counter(record["parcels"] for record in records if record["status"] == "stored" and "parcels" in record)
    if len(keys) < 2:
        return
    common = keys.most_common(1)[0][0]
    for record in records:
        if record["status"] == "stored" and record.get("parcels", common) != common:
            record["status"] = "failed"
            record["reason"] = "its parcels have other names, or another order, than those of most scans"
