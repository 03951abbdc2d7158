"""Every verb, killed at points all over its work and called again, ends with the results of an undisturbed call."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from genebrain.cli import VERBS
from genebrain.simulation.cohort import simulate_cohort
from tests.killing import KILLED, Ended, results, run, warm

KILLS = 8
"""Per verb, with its 25 verbs that write 200: half before changes of files, half at random moments."""
COHORT = "cohort.path=c/cohort.yaml"
SIZES = {"n_windows": 2, "window_bp": 3000, "n_frames": 60, "n_parcels": 10, "n_genomewide": 50, "n_contigs": 2}
LAG0 = ("brain.kind=lag0", "brain.components=[all]")
"""One kind of scan features: what is written is the same, and seven cost minutes."""
SHORT = ("trainer.max_epochs=3", "trainer.patience=3")
JUDGE = ("n_bootstrap=20", "n_permutations=20")


@dataclass(frozen=True)
class Case:
    """A command, what it leaves, and what must not be there before."""

    words: tuple[str, ...]
    out: str
    without: tuple[str, ...] = ()
    names: bool = True


CASES = {
    "simulate": Case(
        ("n_subjects=40", "n_windows=3", "window_bp=8000", "n_frames=40", "n_parcels=14", "seed=3", "out=new"), "new"
    ),
    "plan": Case((COHORT, "out=plan.json"), "plan.json"),
    "embed": Case((COHORT,), "c/store", ("c/store",), names=False),
    "embed-scans": Case(("input=c/scans.tsv", "brain=connectome", "out=e"), "e", names=False),
    "scan-report": Case(("store=c/store/scans", "input=c/scans.tsv", "out=page.html"), "page.html"),
    "fit": Case((COHORT, "run=f", "alignment=textbook", *LAG0, *SHORT), "f"),
    "evaluate": Case(("run=r", "comparisons=[ridge_cca,textbook]", *JUDGE), "r"),
    "report": Case(("run=r",), "r"),
    "controls": Case(("run=r", "names=[one_genome,shuffled_pairs]", "n_shuffles=5", *JUDGE), "r"),
    "compare": Case(("runs=[r]", "out=compared"), "compared"),
    "export": Case(("run=r", "out=v"), "v"),
    "search": Case(("run=r", "genome=S000003", "out=found.tsv"), "found.tsv"),
    "ablate": Case(("ablation=training", COHORT, "run=a", "seeds=[0]", "jobs=1", *LAG0, *SHORT), "a"),
    "embed-sequences": Case(("input=s.fa", "out=q"), "q"),
    "score-variants": Case(
        ("variants=v.tsv", "reference=c/reference.fa", "out=scored.tsv", "context_bp=300", "block_size=4"), "scored.tsv"
    ),
    "generate": Case(("input=s.fa", "out=more.fa", "n_bp=30"), "more.fa"),
    "recover": Case(("input=recover.tsv", "out=rec"), "rec"),
    "pretrain": Case((COHORT, "brain=brainlm_tiny", "run=p", "trainer.max_epochs=2", "trainer.passes=1"), "p"),
    "finetune": Case(("input=labels.tsv", "out=t", "tuning=frozen", "training.max_epochs=2", "folds.folds=2"), "t"),
    "probe": Case((COHORT, "target=sex", "compare=[connectome]", "out=probe.json", *JUDGE), "probe.json"),
    "power": Case(("n_train=100", "n_test=50", "out=power.json"), "power.json"),
    "models": Case(("out=models.json",), "models.json"),
    "convert-scan-encoder": Case(("encoder=brainlm", "path=enc", "out=conv"), "conv"),
    "store": Case(("prune", COHORT, "runs=[r]", "yes=true"), "c/store", names=False),
    "forget": Case(("w.txt", "cohort.path=c/cohort.yaml", "runs=[r]"), "r"),
}
WRITE_NOTHING = ("check",)


def test_every_verb_is_here():
    assert CASES.keys() | set(WRITE_NOTHING) == VERBS.keys()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A cohort with a filled store, a judged run, sequences, variants and an encoder."""
    warm()
    folder = tmp_path_factory.mktemp("kills")
    rng = np.random.default_rng(0)
    simulate_cohort(folder / "c", n_subjects=40, seed=5, k=2, n_active=6, **SIZES)
    for words in (
        ["fit", COHORT, "run=r", "alignment=closed_form", *LAG0],
        ["evaluate", "run=r", "comparisons=[]", *JUDGE],
        ["embed", COHORT, "genetics.chunk_bp=600", "brain=brainlm_tiny"],
        ["pretrain", COHORT, "brain=brainlm_tiny", "run=enc0", "trainer.max_epochs=1", "trainer.passes=1"],
    ):
        assert run(words, folder).code == 0, (folder / "log.txt").read_text()[-2000:]
    shutil.move(folder / "enc0/encoder", folder / "enc")
    shutil.rmtree(folder / "enc0")
    letters = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(12)]
    (folder / "s.fa").write_text("".join(f">s{i}\n{one}\n" for i, one in enumerate(letters)))
    (folder / "recover.tsv").write_text("sequence\tlabel\n" + "".join(f"{one}\t{one[:30]}\n" for one in letters))
    table = [f"{one}\t{i % 2}\n" for i, one in enumerate("".join(rng.choice(list("ACGT"), 48)) for _ in range(40))]
    (folder / "labels.tsv").write_text("sequence\tlabel\n" + "".join(table))
    contig, *rest = (folder / "c/reference.fa").read_text().split("\n")
    genome = "".join(rest).split(">")[0]
    other = dict(zip("ACGT", "GTAC", strict=True))
    places = [p for p in range(400, 2000, 130) if genome[p - 1] in other]
    lines = [f"{contig[1:].split()[0]}\t{p}\t{genome[p - 1]}\t{other[genome[p - 1]]}\n" for p in places]
    (folder / "v.tsv").write_text("chrom\tpos\tref\talt\n" + "".join(lines))
    (folder / "w.txt").write_text("S000003\nS000017\n")
    return folder


def prepared(base: Path, place: Path, verb: str) -> Path:
    shutil.copytree(base, place)
    for name in CASES[verb].without:
        shutil.rmtree(place / name)
    if verb == "forget":
        (place / "c/exclude.txt").write_text((place / "w.txt").read_text())
        with (place / "c/cohort.yaml").open("a") as file:
            file.write("exclude: exclude.txt\n")
    return place


def moments(verb: str, whole: Ended) -> list[dict[str, float]]:
    """When to kill: evenly before changes of files, and wherever processor time stands at random points."""
    rng = np.random.default_rng(list(VERBS).index(verb))
    changes = sorted({*np.linspace(1, max(whole.changes, 1), KILLS // 2).astype(int).tolist()})
    times = rng.uniform(0.02, 0.98, KILLS - len(changes)) * whole.seconds
    return [{"at": change} for change in changes] + [{"after": round(float(time), 3)} for time in times]


@pytest.mark.slow
@pytest.mark.parametrize("verb", CASES)
def test_a_killed_verb_ends_as_an_undisturbed_one(base, tmp_path, verb):
    case = CASES[verb]
    words = [verb, *case.words]
    whole = prepared(base, tmp_path / "whole", verb)
    undisturbed = run(words, whole)
    assert undisturbed.code == 0, (whole / "log.txt").read_text()[-2000:]
    wanted = results(whole / case.out, names=case.names)
    assert wanted or case.out.endswith(".html")
    killed = 0
    for number, moment in enumerate(moments(verb, undisturbed)):
        place, what = prepared(base, tmp_path / f"kill{number}", verb), f"killed at {moment} of {undisturbed}"
        code = run(words, place, **moment).code
        assert code in (*KILLED, 0), (place / "log.txt").read_text()[-2000:]
        killed += code != 0
        code = run(words, place).code
        assert code == 0, f"{what}: {(place / 'log.txt').read_text()[-2000:]}"
        assert results(place / case.out, names=case.names) == wanted, what
        beside = [*(place / case.out).rglob("*.tmp"), *place.glob(f".{case.out}.*.tmp")]
        assert not beside, f"{what}: temporary files stay"
        shutil.rmtree(place)
    print(f"{verb}: killed {killed} times, {KILLS} tries")
    assert killed > KILLS // 2
