"""Every command of the guide, typed in its order on a smaller practice cohort."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FEWER = [
    ("python docs/practice_cohort.py practice", "python small_cohort.py"),
    ("tier=null n_subjects=300", "tier=null n_subjects=120"),
    ("tier=null_confounded ", "tier=null_confounded n_subjects=120 "),
    ("fd_threshold=0.2 run=runs/scrubbed", "fd_threshold=0.2 alignment=closed_form run=runs/scrubbed"),
    ("seeds=[0,1]", "seeds=[0] alignment=closed_form"),
    ("controls run=runs/first", "controls run=runs/first n_shuffles=5"),
    *(
        (f"evaluate run=runs/{run}", f"evaluate run=runs/{run} comparisons=[confound_only] n_permutations=50")
        for run in ("scrubbed", "null-fit", "confounded-fit")
    ),
]
"""Words of the guide and what the test types instead, to be done in minutes."""
SMALL = """
import sys
sys.path.insert(0, {docs!r})
from pathlib import Path
from practice_cohort import main
main(Path("practice"), n_subjects=120)
"""


def blocks(page: str) -> list[str]:
    """Commands of a page, block by block; those that need weights of the user are left out."""
    found = re.findall(r"^ *```bash\n(.*?)^ *```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    return [block for block in found if "FOLDER" not in block]


def test_the_guide_has_commands() -> None:
    text = "".join(blocks("guide.md"))
    for verb in ("check", "plan", "power", "fit", "embed", "evaluate", "report", "scan-report", "ablate", "controls"):
        assert f"genebrain {verb}" in text
    assert [words for words, _ in FEWER if words not in text] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_command_of_the_guide_runs(tmp_path: Path) -> None:
    (tmp_path / "small_cohort.py").write_text(SMALL.format(docs=str(ROOT / "docs")))
    (tmp_path / "bin").mkdir()
    for name, module in (("genebrain", "-m genebrain"), ("python", "")):
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(0o755)
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": paths}
    for block in blocks("guide.md"):
        if "genebrain forget" in block:  # which takes results away
            first = tmp_path / "runs" / "first"
            assert (first / "report.html").stat().st_size > 50_000
            assert (first / "controls.json").exists()
            assert (tmp_path / "runs" / "pooling" / "comparison.csv").exists()
        for words, fewer in FEWER:
            block = block.replace(words, fewer)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr, block
