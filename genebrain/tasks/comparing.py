"""The verb that puts judged runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genebrain.common.types import UserError

FILES = ("comparison.csv", "comparison.md", "comparison.tex")


def compare(runs: Sequence[Path | str], out: Path | str | None = None, split: str = "test") -> Any:
    """Put judged runs side by side; see :mod:`genebrain.studies.run_table`. Returns the tidy table.

    With ``out`` writes there ``comparison.csv`` (tidy: a row per run, method, direction and metric), ``comparison.md``
    and ``comparison.tex`` (a row per run).
    """
    from genebrain.common.files import replacing
    from genebrain.common.private_table import harmless
    from genebrain.studies.run_table import latex, markdown, shown_table, tidy_table, warnings_of

    folders = [Path(run) for run in runs]
    if not folders:
        raise UserError("name at least one judged run: genebrain compare RUN RUN ...")
    tidy, shown = tidy_table(folders, split), shown_table(folders, split)
    print(shown.to_string(index=False))
    for words in warnings_of(tidy):
        print(f"note: {words}")
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        texts = harmless(tidy).to_csv(index=False), markdown(shown), latex(shown)
        for name, text in zip(FILES, texts, strict=True):
            with replacing(folder / name, private=False) as partial:
                partial.write_text(text, encoding="utf-8")
        print(f"wrote {', '.join(str(folder / name) for name in FILES)}")
    return tidy
