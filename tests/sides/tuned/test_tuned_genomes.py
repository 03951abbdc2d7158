"""An encoder trained inside the alignment: loss and gradients of one by one, exact start, nothing personal kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genebrain.alignment.model import AlignmentModel
from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings
from genebrain.common.types import UserError
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.store.plan import EmbedOptions
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.tuned import genomes as tuned_genomes
from genebrain.training.settings import LoraSettings
from tests.sides.tuned.tuned_cohort import CHUNKS, WINDOWS, N, TunedCohort, make, tokens

SETTINGS = AlignmentSettings(projector=ProjectorSettings(hidden=16, width=8, dropout=0.0))
RANDOM = AlignmentSettings(
    start="random", train="full", score="cosine", projector=ProjectorSettings(hidden=16, width=8, dropout=0.0)
)
IDS = torch.arange(N)


@pytest.fixture(scope="module")
def cohort() -> TunedCohort:
    return make()


def disturb(module: torch.nn.Module) -> None:
    """Away from the start, where half of the gradients are zero."""
    torch.manual_seed(4)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn_like(parameter)


def gradients(towers, settings, gene, brain) -> dict[str, torch.Tensor]:
    towers.zero_grad()
    loss = settings.build_loss()(gene, brain, towers.logit_scale.log_scale, IDS, IDS)
    loss.backward()
    found = {name: p.grad.clone() for name, p in towers.named_parameters() if p.requires_grad and p.grad is not None}
    return {"loss": loss.detach(), **found}


def one_by_one(cohort: TunedCohort, towers) -> torch.Tensor:
    """Gene vectors of all people: every haplotype, window and chunk of everybody through the encoder by itself."""
    encoder = towers.gene_tower.encoder
    means = dict(enumerate(cohort.closed.columns.pieces))
    ends = np.cumsum([sum(linear.shape[1] for _, linear, _ in p) for p in means.values()])
    people = []
    for person in cohort.chunks.index:
        columns = []
        for window, pieces in means.items():
            if (person[:, window] < 0).all():
                stop = int(ends[window])
                columns.append(encoder.pool.columns.fill[stop - sum(m.shape[1] for _, m, _ in pieces) : stop])
                continue
            for chunk, (mean, linear, _) in enumerate(pieces):
                total = torch.zeros(encoder.chunks.hidden)
                for haplotype in range(2):
                    row = person[haplotype, window, chunk]
                    if row >= 0:
                        ids, mask = map(torch.from_numpy, tokens(cohort.chunks.sequences[row]))
                        total = total + encode_batch(encoder.chunks._backbone, ids, mask)["mean"][0]
                columns.append(((total.double() - torch.from_numpy(mean)) @ torch.from_numpy(linear)).float())
        people.append(torch.cat(columns))
    return towers.gene_tower.tower(torch.stack(people))


@pytest.mark.parametrize(
    "settings",
    [pytest.param(SETTINGS, id="closed form"), pytest.param(RANDOM, id="random", marks=pytest.mark.slow)],
)
def test_unique_chunks_only_and_the_gradients_of_one_by_one(cohort, settings):
    towers = cohort.subjects.start_towers(settings, cohort.closed, np.arange(N))
    disturb(towers)
    index, features = cohort.subjects.gene_input(cohort.closed), cohort.subjects.brain_input(cohort.closed)
    fast = gradients(towers, settings, towers.gene_tower(index), towers.brain_tower(features))
    chunks = towers.gene_tower.encoder.chunks
    naive = int((cohort.chunks.index >= 0).sum())
    assert chunks.encoded == len(np.unique(cohort.chunks.index[cohort.chunks.index >= 0])) < naive / 10
    assert naive > 1200
    assert chunks.micro_batches == 1
    slow = gradients(
        towers, settings, one_by_one(cohort, towers), towers.brain_tower(cohort.subjects.brain_input(cohort.closed))
    )
    assert fast.keys() == slow.keys()
    lora = [name for name in fast if "lora_" in name]
    assert len(lora) == 16
    assert all(fast[name].abs().max() > 1e-4 for name in lora)
    for name, value in fast.items():
        torch.testing.assert_close(value, slow[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_recomputed_micro_batches_equal_kept_ones_with_dropout(monkeypatch):
    cohort = make(lora=LoraSettings(rank=2, dropout=0.4))
    towers = cohort.subjects.start_towers(SETTINGS, cohort.closed, np.arange(N))
    disturb(towers)
    encoder = towers.gene_tower.encoder
    encoder.chunks.options = EmbedOptions(tokens_per_batch=64)
    index = cohort.subjects.gene_input(cohort.closed)

    def step() -> dict[str, torch.Tensor]:
        torch.manual_seed(8)
        return gradients(
            towers, SETTINGS, towers.gene_tower(index), towers.brain_tower(cohort.subjects.brain_input(cohort.closed))
        )

    recomputed = step()
    assert encoder.chunks.micro_batches > 10
    monkeypatch.setattr(tuned_genomes, "recomputed", lambda encode, *inputs: encode(*inputs))
    kept = step()
    assert recomputed.keys() == kept.keys()
    assert all(torch.equal(recomputed[name], kept[name]) for name in kept)
    encoder.eval()
    still = step()
    assert not torch.equal(still["loss"], kept["loss"]), "dropout was off"


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize(
    "pooling",
    [GenePooling(), GenePooling(diploid="mean_absdiff"), GenePooling(chunk="mean", window="mean", diploid="mean"),
     GenePooling(token="last", chunk="max", window="max")],
)  # fmt: skip
def test_the_start_is_the_closed_form(tuning, pooling):
    cohort = make(tuning, pooling)
    towers = cohort.subjects.start_towers(SETTINGS, cohort.closed, np.arange(N))
    inputs = cohort.subjects.gene_input(cohort.closed), cohort.subjects.brain_input(cohort.closed)
    for part in tuned_genomes_modules(towers):
        assert part.training
    gene, brain = towers.vectors(*inputs)
    np.testing.assert_allclose(
        gene, cohort.closed.gene_vectors(cohort.closed.gene_columns(cohort.subjects.blocks)), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(brain, cohort.closed.brain_vectors(cohort.subjects.brain["b"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "reading",
    [{"strand": "both_mean"}, {"strand": "both_concat", "phases": (0, 3)}, {"layer": -2}, {"delta": True}],
    ids=str,
)
def test_other_readings_of_a_chunk_start_at_the_closed_form_too(tmp_path, reading):
    cohort = make(folder=tmp_path, **reading)
    towers = cohort.subjects.start_towers(SETTINGS, cohort.closed, np.arange(N))
    gene, _ = towers.vectors(cohort.subjects.gene_input(cohort.closed), cohort.subjects.brain_input(cohort.closed))
    np.testing.assert_allclose(
        gene, cohort.closed.gene_vectors(cohort.closed.gene_columns(cohort.subjects.blocks)), rtol=1e-4, atol=2e-4
    )


def tuned_genomes_modules(towers) -> list[torch.nn.Module]:
    return [m for m in towers.gene_tower.modules() if isinstance(m, tuned_genomes.TunedChunks)]


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("pooling", [GenePooling(), GenePooling(chunk="gated_attention", window="attention")])
def test_a_trained_encoder_reads_back_and_nothing_of_the_base_or_of_people_is_kept(tmp_path, tuning, pooling):
    cohort = make(tuning, pooling)
    settings = RANDOM if pooling.trainable else SETTINGS
    towers = cohort.subjects.start_towers(settings, cohort.closed, np.arange(N))
    disturb(towers)
    AlignmentModel(settings, cohort.closed, towers, "trained").save(tmp_path)
    again = AlignmentModel.load(tmp_path, cohort.subjects.empty_towers(np.arange(N)))
    inputs = cohort.subjects.gene_input(cohort.closed), cohort.subjects.brain_input(cohort.closed)
    for ours, theirs in zip(again.towers.vectors(*inputs), towers.vectors(*inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    kept = torch.nn.ModuleDict({"gene": towers.gene_tower}).state_dict()
    assert any("embed_tokens" in name for name in kept) is (tuning == "full")
    assert not any("base_layer" in name or "table" in name for name in kept)
    assert all(len(value) != len(cohort.chunks.keys) for value in kept.values() if value.ndim)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert all(p.stat().st_mode & 0o077 == 0 for p in files)
    assert any(p.name == ("adapters.safetensors" if tuning == "lora" else "weights.safetensors") for p in files)
    letters = max(cohort.chunks.sequences, key=len)
    assert not any(letters in p.read_bytes() for p in files)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_weights_of_another_base_are_refused(tmp_path, tuning):
    cohort = make(tuning)
    towers = cohort.subjects.start_towers(SETTINGS, cohort.closed, np.arange(N))
    AlignmentModel(SETTINGS, cohort.closed, towers, "trained").save(tmp_path)
    other = GeneSide(tuning=tuning, weights_seed=7, lora=cohort.side.lora)
    maker = tuned_genomes.genome_encoder(
        other, cohort.pooling, cohort.chunks, [b[0] for b in cohort.subjects.blocks], None, 0
    )
    subjects = cohort.subjects.frozen()
    subjects = type(subjects)(**{**vars(subjects), "tuned": {"gene": maker}})
    with pytest.raises(UserError, match=r"fingerprint .* has [0-9a-f]{32}"):
        AlignmentModel.load(tmp_path, subjects.empty_towers(np.arange(N)))


def test_lightning_checkpoints_load_strictly_without_the_base(cohort):
    towers = cohort.subjects.start_towers(SETTINGS, cohort.closed, np.arange(N))
    disturb(towers)
    state = {k: v.clone() for k, v in towers.gene_tower.state_dict().items()}
    fresh = cohort.subjects.start_towers(SETTINGS, cohort.closed, np.arange(N)).gene_tower
    assert fresh.load_state_dict(state) is not None
    index = cohort.subjects.gene_input(cohort.closed)
    with torch.no_grad():
        assert torch.equal(fresh.eval()(index), towers.gene_tower.eval()(index))
    with pytest.raises(RuntimeError, match="lora_A"):
        fresh.load_state_dict({k: v for k, v in state.items() if "lora_A" not in k})


def test_parameters_are_counted_per_tower_and_encoder(cohort):
    counted = cohort.subjects.start_towers(SETTINGS, cohort.closed, np.arange(N)).parameter_counts()
    assert set(counted) == {"gene tower", "brain tower", "gene encoder"}
    # 2 layers of q, o: 64 -> 64; k, v: 64 -> 32; each with rank * (in + out)
    assert counted["gene encoder"].trainable == 2 * (2 * 2 * 128 + 2 * 2 * 96)
    assert counted["gene encoder"].total > 100 * counted["gene encoder"].trainable
    assert counted["gene tower"].trainable > counted["gene encoder"].trainable


def test_encoders_have_their_own_learning_rate(cohort):
    module = cohort.subjects.start_towers(SETTINGS, cohort.closed, np.arange(N))
    module.learning_rate, module.encoder_learning_rate = 1e-3, 1e-5
    groups = module.configure_optimizers().param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    assert len(rates) == len(trained)
    assert all(rates[id(p)] == (1e-5 if "lora_" in n else 1e-3) for n, p in trained.items())


def test_towers_of_one_seed_start_alike_with_and_without_a_trained_encoder(cohort):
    made = []
    for subjects in (cohort.subjects, cohort.subjects.frozen()):
        torch.manual_seed(5)
        made.append(subjects.start_towers(SETTINGS, cohort.closed, np.arange(N)))
    first, second = made[0].gene_tower.tower.projector, made[1].gene_tower.projector
    assert torch.equal(first.project[0].weight, second.project[0].weight)


def test_a_wrong_tuning_is_named():
    with pytest.raises(UserError, match=r"genetics\.tuning=adapter.*frozen, lora, full"):
        GeneSide(tuning="adapter")
    assert WINDOWS * CHUNKS == 24
