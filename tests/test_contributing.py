"""What CONTRIBUTING.md tells a reader to write works as a user's file: each block is loaded as a plugin and used."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import genebrain
from genebrain import (
    DNA_ENCODERS,
    LOSSES,
    POOLINGS,
    PROJECTORS,
    SCAN_ENCODERS,
    SCAN_ESTIMATORS,
    UserError,
    config,
)
from genebrain.brain.encoders.build import EncoderSettings
from genebrain.common import registry
from genebrain.common.tensor_files import read_tensors
from genebrain.genetics.encoders.plain import PROBES, check_dna_encoder, make_encoder
from genebrain.genetics.encoders.protocol import DNAWeights
from genebrain.runs.fit import Experiment
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from tests.pictures import blank_pictures  # noqa: F401 - for the whole file

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
BLOCKS = dict(re.findall(r"```python\n# (my_\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
SMALL = {"n_windows": 2, "window_bp": 6000, "n_frames": 60, "n_parcels": 30, "n_genomewide": 100}
OWN = (
    (POOLINGS, "root_mean_square"),
    (POOLINGS, "weighted_mean"),
    (PROJECTORS, "gated"),
    (LOSSES, "hardest_stranger"),
    (DNA_ENCODERS, "letters"),
    (SCAN_ENCODERS, "amplitude"),
    (SCAN_ESTIMATORS, "my_features"),
)


def letters(**more: int) -> genebrain.GeneSide:
    return genebrain.GeneSide("letters", chunk_bp=1000, columns="embeddings", rare_below=0, **more)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """The blocks as files, loaded as the command line loads them, and taken out again."""
    folder = tmp_path_factory.mktemp("user")
    files = []
    for name, text in BLOCKS.items():
        (folder / name).write_text(text)
        files.append(str(folder / name))
    genebrain.load_plugins(files)
    yield files
    for known, name in OWN:
        known.remove(name)
    registry._loaded.difference_update(files)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("cohort") / "c", n_subjects=60, seed=5, **SMALL)


@pytest.fixture(scope="module")
def run(cohort, plugins, tmp_path_factory) -> Path:
    """All of them at once in the main job."""
    folder = tmp_path_factory.mktemp("runs") / "fit"
    return genebrain.fit(
        cohort,
        run=folder,
        genetics=letters(),
        brain=genebrain.EncoderSide("amplitude", components=(4,)),
        pooling=genebrain.GenePooling(chunk="root_mean_square", window="weighted_mean"),
        alignment=genebrain.AlignmentSettings(
            "random", "full", "cosine", "hardest_stranger", projector=genebrain.ProjectorSettings("gated", 32, 16)
        ),
        trainer=genebrain.TrainerSettings(max_epochs=2, patience=2),
        progress=False,
    )


def test_every_block_is_short_and_is_run():
    assert {"my_dna.py", "my_loss.py", "my_pooling.py", "my_scans.py", "my_tower.py"} <= set(BLOCKS)
    for name, text in BLOCKS.items():
        assert len(text.splitlines()) < 30, name


@pytest.mark.parametrize("command", re.findall(r"^genebrain fit (.+plugins=.+)$", PAGE, re.MULTILINE))
def test_the_commands_beside_them_go_together(command, plugins):
    words = command.split()
    (named,) = [word for word in words if word.startswith("plugins=")]
    assert named.removeprefix("plugins=[").removesuffix("]") in BLOCKS
    options = config.build(config.compose("fit", [word for word in words if word != named]))
    Experiment(**{field.name: options[field.name] for field in fields(Experiment)}).check()


def test_a_fit_takes_all_of_them(run, cohort):
    store = cohort.parent / "store"
    tables = [json.loads(path.read_text()) for path in (store / "chunks").glob("*/provenance.json")]
    (facts,) = [one for one in tables if "letters/1 seed 0" in one.values()]  # other tests of the file fill the store
    assert (facts["model_name"], facts["hidden_size"], facts["poolings"]) == ("letters", 32, ["mean"])
    (folder,) = (store / "scan_embeddings").iterdir()
    assert folder.name.startswith("amplitude-")
    metrics = genebrain.evaluate(run, gallery_size=8, n_bootstrap=20, n_permutations=20, progress=False)
    assert 0 <= metrics["retrieval"]["mean"]["recall@1"]["value"] <= 1


def test_weights_of_a_pooling_are_trained_and_kept(run):
    stored = read_tensors(run / "checkpoints" / "towers.safetensors")
    (name,) = [name for name in stored if name.endswith("window.score.weight")]
    model = genebrain.load_run(run).model
    assert torch.equal(dict(model.towers.gene_tower.named_parameters())[name.removeprefix("gene.")], stored[name])
    counted = json.loads((run / "provenance.json").read_text())["parameters"]["gene tower"]
    assert counted["trainable"] == counted["total"]


def test_what_is_stored_is_found_by_the_fingerprint(run, cohort, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("encoded again")

    gene, brain = (
        letters(),
        genebrain.EncoderSide("amplitude", components=(4,)),
    )
    workspace = Workspace(cohort, progress=False)
    monkeypatch.setattr("genebrain.genetics.encoders.plain.encoded", refuse)
    monkeypatch.setattr("genebrain.brain.encoders.embed._encode", refuse)
    assert workspace.embed(gene)["encoded"] == 0
    assert np.isfinite(workspace.brain_inputs(brain, np.arange(5))[0]).all()
    assert workspace.table(gene, "mean").shape[1] == 32
    with pytest.raises(UserError, match=r"pooling\.token=max: letters gives mean"):
        workspace.table(gene, "max")
    with pytest.raises(AssertionError, match="encoded again"):  # other weights are another table
        workspace.embed(letters(weights_seed=1))


def test_scans_are_embedded_without_a_cohort(plugins, cohort, tmp_path):
    brain = genebrain.EncoderSide("amplitude", weights_seed=3)
    done = genebrain.embed_scans(cohort.parent / "scans.tsv", out=tmp_path / "out", brain=brain, progress=False)
    assert (done["embedded"]["width"], done["embedded"]["subjects"]) == (24, 60)


def test_sequences_of_a_file_are_embedded(plugins, tmp_path):
    texts = ["ACGTTTGA" * 9, "GGCATN" * 15, "TTTTTTAC" * 9]
    (tmp_path / "a.fa").write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(texts)))
    genebrain.embed_sequences(
        tmp_path / "a.fa", tmp_path / "out", genebrain.GeneSide("letters", chunk_bp=96), progress=False
    )
    wanted = make_encoder(DNAWeights("letters")).encode(texts)["mean"]
    np.testing.assert_allclose(np.load(tmp_path / "out" / "embeddings.npy"), wanted, atol=1e-6)


def test_options_that_only_the_other_encoders_have_are_refused(plugins, cohort):
    with pytest.raises(UserError, match=r"genetics\.layer, genetics\.tuning, which GENERator alone has"):
        genebrain.GeneSide("letters", layer=-2, tuning="lora")
    with pytest.raises(UserError, match=r"no DNA encoder 'leters'; did you mean 'letters'"):
        genebrain.GeneSide("leters")
    with pytest.raises(UserError, match="this needs a GENERator"):
        genebrain.GeneSide("letters").language_model()
    with pytest.raises(UserError, match=r"summary=mean: amplitude .*; use own"):
        genebrain.EncoderSide("amplitude", summary="mean")
    with pytest.raises(UserError, match="scaling=cohort: amplitude"):
        genebrain.EncoderSide("amplitude", scaling="cohort")
    with pytest.raises(UserError, match="amplitude has no pretraining objective"):
        genebrain.pretrain(cohort, run=cohort.parent / "none", brain=genebrain.EncoderSide("amplitude"))


WITHOUT_WEIGHTS = ("kmer_counts",)
NEED_WEIGHTS = ("generator_v", "carbon_", "transformers")


@pytest.mark.parametrize("name", [*(n for n in DNA_ENCODERS if not n.startswith(NEED_WEIGHTS)), "letters"])
def test_every_dna_encoder_keeps_the_protocol(name, plugins):
    encoder = make_encoder(DNAWeights(name, seed=4))
    check_dna_encoder(encoder, name)
    found = encoder.encode(PROBES)
    for values in found.values():
        assert tuple(values.shape) == (len(PROBES), encoder.hidden_size)
        assert len(np.unique(np.asarray(values), axis=0)) == len(PROBES)  # and tells strings apart
    assert encoder.fingerprint == make_encoder(DNAWeights(name, seed=4)).fingerprint
    other = make_encoder(DNAWeights(name, seed=5)).fingerprint
    assert (encoder.fingerprint == other) == (name in WITHOUT_WEIGHTS)


@pytest.mark.parametrize("name", [*SCAN_ENCODERS, "amplitude"])
def test_every_scan_encoder_keeps_the_contract(name, plugins):
    family = SCAN_ENCODERS[name]
    places = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32) * 40
    parcels = family.reads == "parcels"
    shape = {"n_parcels": 10, "coordinates": places} if parcels else {"grid": (8, 9, 7)}
    one, other = (genebrain.build_encoder(EncoderSettings(name, weights_seed=seed), **shape) for seed in (0, 1))
    windows = torch.randn(3, one.frames, *((10,) if parcels else (8, 9, 7)), generator=torch.Generator().manual_seed(0))
    genebrain.check_window_encoder(one, windows)
    assert one.fingerprint() != other.fingerprint()
    assert one.around(other.encoder, "other").fingerprint() == other.fingerprint()


@pytest.mark.parametrize("name", [*LOSSES, "hardest_stranger"])
def test_every_loss_ignores_relatives_and_the_order_of_a_batch(name, plugins):
    generator = torch.Generator().manual_seed(1)
    gene, brain = (torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1) for _ in range(2))
    genome, family = torch.arange(6), torch.tensor([0, 0, 1, 2, 3, 4])
    scale, turn = torch.tensor([1.5]), torch.tensor([3, 1, 5, 0, 2, 4])
    loss = LOSSES[name]("ignore")
    value = loss(gene, brain, scale, genome, family)
    assert value.ndim == 0
    assert torch.isfinite(value)
    torch.testing.assert_close(loss(gene[turn], brain[turn], scale, genome[turn], family[turn]), value)
    assert LOSSES[name]("negative")(gene, brain, scale, genome, family) >= value - 1e-6  # more can only be harder


@pytest.mark.parametrize("name", [*PROJECTORS, "gated"])
def test_every_projector_gives_the_shared_width_and_gradients(name, plugins):
    projector = genebrain.ProjectorSettings(name, 12, 5).build(7)
    out = projector(torch.ones(3, 2, 7))
    assert out.shape == (3, 2, 5)
    out.square().sum().backward()
    assert all(parameter.grad is not None for parameter in projector.parameters())


def test_a_projector_of_another_width_is_named(plugins):
    PROJECTORS.add("narrow", lambda in_features, hidden, out_features, dropout: torch.nn.Linear(in_features, 2))
    try:
        with pytest.raises(
            ValueError, match=r"projector narrow: \[\.\.\., 7\] must become \[\.\.\., 5\], got \[3, 2\]"
        ):
            genebrain.ProjectorSettings("narrow", 12, 5).build(7)(torch.ones(3, 7))
    finally:
        PROJECTORS.remove("narrow")
    with pytest.raises(UserError, match=r"alignment\.projector\.kind=gatd: .*did you mean 'gated'"):
        genebrain.ProjectorSettings("gatd")


def test_every_pooling_is_deaf_to_masked_content(plugins):
    x, mask = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(2)), torch.ones(5, 3, dtype=torch.bool)
    mask[:, 2] = False
    for name, kind in POOLINGS.items():
        more = {"n_items": 3} if "n_items" in inspect.signature(kind).parameters else {}
        pooling = kind(4, **more).eval()
        torch.testing.assert_close(pooling(x.masked_fill(~mask[..., None], torch.nan), mask), pooling(x, mask))
        torch.testing.assert_close(pooling(x[[4, 2]], mask[[4, 2]]), pooling(x, mask)[[4, 2]])
        assert pooling(x, mask).shape == (5, pooling.out_features), name
