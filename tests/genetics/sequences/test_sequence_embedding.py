"""Sequences of a file as vectors: every letter is read, nothing is mixed up, a killed run ends with the same bytes."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genebrain import tasks
from genebrain.common.types import UserError
from genebrain.genetics.genome.reference import reverse_complement
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.tokenizer import BOS, SixMerTokenizer
from genebrain.genetics.sequences.cutting import Cutting
from genebrain.genetics.sequences.embed import embed_sequence_file
from genebrain.genetics.sequences.files import SequenceFile
from genebrain.genetics.sequences.vectors import SequenceEmbeddings, VectorLayout
from genebrain.genetics.store.plan import EmbedOptions
from genebrain.genetics.store.work_parts import Shard
from genebrain.sides.genome import GeneSide
from tests.genetics.chunk_tables import kill_in_fifth_batch

CUTTING = Cutting(chunk_bp=60)
OPTIONS = EmbedOptions(tokens_per_batch=24, chunks_per_shard=2)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    random = np.random.default_rng(5)
    drawn = ["".join(random.choice(list("ACGT"), n)) for n in (6, 59, 60, 61, 125, 180, 300, 13)]
    drawn[6] = drawn[6][:60] + "N" * 60 + drawn[6][120:]  # a chunk of N alone
    return [*drawn, drawn[4]]


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory, sequences: list[str]) -> Path:
    return write(tmp_path_factory.mktemp("input") / "x.fa", sequences)


def write(path: Path, sequences: list[str]) -> Path:
    path.write_text("".join(f">s{i} note\n{text}\n" for i, text in enumerate(sequences)))
    return path


def embed(
    fasta: Path,
    out: Path,
    backbone: GeneratorBackbone,
    cutting: Cutting = CUTTING,
    options: EmbedOptions = OPTIONS,
    layout: VectorLayout | None = None,
    **more: Any,
) -> dict[str, Any]:
    return embed_sequence_file(SequenceFile(fasta), out, backbone, options, cutting, layout, progress=False, **more)


def embed_file(backbone: GeneratorBackbone, fasta: str, out: str) -> None:
    embed(Path(fasta), Path(out), backbone)


def by_hand(backbone: GeneratorBackbone, text: str) -> torch.Tensor:
    ids = torch.tensor([[BOS, *SixMerTokenizer().encode(SixMerTokenizer.frame(text)), BOS]])
    return encode_batch(backbone, ids, torch.ones_like(ids))["mean"][0]


def results(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.suffix in
        (".npy", ".parquet", ".json")
    }  # fmt: skip


@given(st.integers(6, 400), st.integers(1, 8), st.integers(0, 7), st.sampled_from(["pad_right", "pad_left"]))
def test_chunks_cover_every_letter(length: int, size: int, overlap: int, rule: Any) -> None:
    cutting = Cutting(6 * size, 6 * min(overlap, size - 1), rule)
    cuts = cutting.cuts(length)
    assert (cuts[0][0], cuts[-1][1]) == (0, length)
    assert all(end - start == cutting.chunk_bp for start, end in (cuts[:-1] if rule == "pad_right" else cuts[1:]))
    assert all(later[0] == earlier[1] - cutting.overlap_bp for earlier, later in zip(cuts, cuts[1:]))  # noqa: B905, RUF007


def test_places_of_the_short_chunk() -> None:
    assert Cutting(12).cuts(27) == [(0, 12), (12, 24), (24, 27)]
    assert Cutting(12, rule="pad_left").cuts(27) == [(0, 3), (3, 15), (15, 27)]
    assert Cutting(12, rule="trim_right").cuts(27) == [(0, 12), (12, 24)]
    assert Cutting(12, rule="trim_left").cuts(27) == [(3, 15), (15, 27)]
    assert Cutting(12, 6).cuts(27) == [(0, 12), (6, 18), (12, 24), (18, 27)]
    assert Cutting(12, parity=True).cuts(27) == [(0, 12), (12, 24)]
    assert Cutting(12, parity=True).cuts(9) == [(0, 9)]
    for wrong in ((10, 0), (0, 0), (12, 12), (12, 4), (12, -6)):
        with pytest.raises(UserError, match="both must be multiples of 6"):
            Cutting(*wrong)


def test_vectors_are_those_of_single_chunks(
    tmp_path: Path, backbone: GeneratorBackbone, fasta: Path, sequences: list[str]
) -> None:
    done = embed(fasta, tmp_path, backbone)
    found = SequenceEmbeddings.load(tmp_path)
    pieces = [text[i : i + 60] for text in sequences for i in range(0, len(text), 60)]
    assert found.vectors.shape == tuple(done["shape"]) == (len(pieces), 64)
    assert done["encoder"]["encoded"] == len({p for p in pieces if set(p) != {"N"}}) < done["chunks"]["all"]
    assert found.mask.tolist() == [set(p) != {"N"} for p in pieces]
    for vector, piece in zip(found.vectors, pieces, strict=True):
        expected = by_hand(backbone, piece) if set(piece) != {"N"} else torch.zeros(64)
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert found.table["id"].tolist() == [f"s{i}" for i in range(9)]
    assert found.table["letters"].tolist() == [len(text) for text in sequences]
    assert found.table["first_chunk"].tolist() == [0, *np.cumsum(found.table["chunks"])[:-1]]
    assert set(found.table["description"]) == {"note"}
    for path in [tmp_path, *tmp_path.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_layouts_agree(tmp_path: Path, backbone: GeneratorBackbone, fasta: Path, sequences: list[str]) -> None:
    def made(name: str, **layout: Any) -> SequenceEmbeddings:
        store = tmp_path / "store"
        embed(fasta, tmp_path / name, backbone, layout=VectorLayout(**layout), store=store)
        return SequenceEmbeddings.load(tmp_path / name)

    rows = made("rows")
    padded, mask = rows.padded()
    block = made("padded", padded=True)
    assert block.vectors.shape == (9, 5, 64)
    assert np.array_equal(block.vectors, padded)
    assert np.array_equal(block.mask, mask)
    assert mask.sum(1).tolist() == [1, 1, 1, 2, 3, 3, 4, 1, 3]
    some, _ = rows.padded([6, 1])
    assert np.array_equal(some[0], padded[6])
    chosen = [padded[i][mask[i]] for i in range(9)]
    letters = [[len(t[i : i + 60]) for i in range(0, len(t), 60) if set(t[i : i + 60]) != {"N"}] for t in sequences]
    expected = {
        "mean": [v.mean(0) for v in chosen],
        "max": [v.max(0) for v in chosen],
        "last": [v[-1] for v in chosen],
        "weighted_mean": [(v * np.array(n)[:, None]).sum(0) / sum(n) for v, n in zip(chosen, letters, strict=True)],
    }
    for name, values in expected.items():
        pooled = made(name, chunk_pooling=name)
        np.testing.assert_allclose(pooled.vectors, values, atol=1e-6)
        assert pooled.mask.all()
        with pytest.raises(UserError, match="padded or pooled already"):
            pooled.padded()
    assert np.abs(made("token", token_pooling="max").vectors - rows.vectors).max() > 0.1
    with pytest.raises(UserError, match="padded=true keeps all chunks"):
        VectorLayout(chunk_pooling="mean", padded=True)
    with pytest.raises(UserError, match="token_pooling='sum': use one of last, mean, max"):
        VectorLayout("sum")


def test_killed_run_ends_with_the_same_bytes(tmp_path: Path, backbone: GeneratorBackbone, fasta: Path) -> None:
    embed(fasta, tmp_path / "undisturbed", backbone)
    out = tmp_path / "killed"
    kill_in_fifth_batch(embed_file, fasta, out)
    assert not (out / "provenance.json").exists()
    assert list(out.rglob("shard-*"))
    done = embed(fasta, out, backbone)
    assert 0 < done["encoder"]["encoded"] < done["chunks"]["distinct"]
    assert results(out) == results(tmp_path / "undisturbed")
    assert len(results(out)) == 4
    assert "encoder" not in embed(fasta, out, backbone), "a finished folder is not worked on again"
    (out / "mask.npy").write_bytes(b"damaged")
    embed(fasta, out, backbone)
    assert results(out) == results(tmp_path / "undisturbed")
    assert not list(out.glob("*.tmp"))


def test_shares_give_the_bytes_of_the_whole(tmp_path: Path, backbone: GeneratorBackbone, fasta: Path) -> None:
    layout = VectorLayout(chunk_pooling="mean")
    embed(fasta, tmp_path / "whole", backbone, layout=layout)
    for i in (2, 3, 1):
        part = embed(fasta, tmp_path / "shared", backbone, layout=layout, shard=Shard(i, 3))
        assert "shape" not in part
        assert not list((tmp_path / "shared").glob("*.npy"))
    done = embed(fasta, tmp_path / "shared", backbone, layout=layout)
    assert (done["encoder"]["merged_parts"], done["encoder"]["encoded"]) == (3, 0)
    assert results(tmp_path / "shared") == results(tmp_path / "whole")


def test_reverse_complement_leaves_the_mean_of_both_strands(tmp_path: Path, backbone: GeneratorBackbone) -> None:
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("ACGTN"), n, p=[0.24] * 4 + [0.04])) for n in (60, 180, 300)]
    turned = [reverse_complement(text.encode()).decode() for text in texts]
    options = EmbedOptions(strand="both_mean", phases=(0, 1, 5))
    layout = VectorLayout(chunk_pooling="mean")
    found = []
    for name, given_ in (("forward", texts), ("turned", turned)):
        embed(write(tmp_path / f"{name}.fa", given_), tmp_path / name, backbone, options=options, layout=layout)
        found.append(SequenceEmbeddings.load(tmp_path / name).vectors)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_soft_masked_file_gives_the_vectors_of_its_twin(
    tmp_path: Path, backbone: GeneratorBackbone, fasta: Path, sequences: list[str]
) -> None:
    masked = write(tmp_path / "masked.fa", [text.lower() for text in sequences])
    embed(fasta, tmp_path / "a", backbone)
    done = embed(masked, tmp_path / "b", backbone)
    assert done["hygiene"]["lower_case"] == sum(map(len, sequences))
    for name in ("embeddings.npy", "mask.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_tail_is_dropped_under_parity_and_counted(tmp_path: Path, backbone: GeneratorBackbone, fasta: Path) -> None:
    done = embed(fasta, tmp_path / "parity", backbone, Cutting(60, parity=True))
    assert done["chunks"]["letters_dropped"] == 1 + 5 + 5
    trimmed = EmbedOptions(length_rule="trim_right")
    done = embed(fasta, tmp_path / "trim", backbone, Cutting(60, rule="trim_right"), trimmed)
    assert done["chunks"]["letters_dropped"] == 1 + 5 + 5
    with pytest.raises(ValueError, match=r"cutting.rule is pad_right but options.length_rule is trim_right"):
        embed(fasta, tmp_path / "none", backbone, options=trimmed)


def test_other_work_and_impossible_wishes_are_refused(tmp_path: Path, backbone: GeneratorBackbone, fasta: Path) -> None:
    embed(fasta, tmp_path / "out", backbone)
    with pytest.raises(UserError, match="other work: chunk_bp: 60 -> 66"):
        embed(fasta, tmp_path / "out", backbone, Cutting(66))
    with pytest.raises(UserError, match=r"chunk_bp=98304 is 16386 tokens .* reads 16384; use at most 98292"):
        embed(fasta, tmp_path / "long", backbone, Cutting(98304))
    bad = write(tmp_path / "bad.fa", ["ACGTACGT", "AC", "NNNNNNN"])
    with pytest.raises(UserError, match=r"1 sequences shorter than 6 letters: row 2 \(s1\)"):
        embed(bad, tmp_path / "bad", backbone)
    assert not list((tmp_path / "bad").rglob("*.parquet*"))
    with pytest.raises(UserError, match="holds no finished embeddings"):
        SequenceEmbeddings.load(tmp_path / "bad")
    with pytest.raises(UserError, match=r"delta=true subtracts the reference chunk"):
        tasks.embed_sequences(fasta, tmp_path / "x", GeneSide(delta=True))


def test_ids_that_name_several_sequences_are_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fasta = tmp_path / "twice.fa"
    fasta.write_text(">a\nACGTACGT\n>b\nACGTACGA\n>a\nACGTACGC\n")
    for _ in range(2):  # a finished folder says the same
        tasks.embed_sequences(fasta, tmp_path / "out")
        assert "1 ids name several sequences (2 sequences: rows 1, 3)" in capsys.readouterr().out
    table = SequenceEmbeddings.load(tmp_path / "out").table
    assert table["id"].tolist() == ["a", "b", "a"]
    assert table["row"].tolist() == [1, 2, 3]
    with pytest.raises(UserError, match=r"no\.fa cannot be read: No such file or directory$"):
        tasks.embed_sequences(tmp_path / "no.fa", tmp_path / "none")


def test_the_verb_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("id\tseq\tlabel\na\tacgtacgtacgt\t1\nb\tAC\t0\nc\tNNNNNNACGTAC\t1\n")
    arguments = {"input": table, "out": tmp_path / "out", "unreadable": "skip", "chunk_pooling": "mean"}
    tasks.embed_sequences(**arguments, shard="1/2")
    assert "the same command without shard merges" in capsys.readouterr().out
    tasks.embed_sequences(**arguments)
    printed = capsys.readouterr().out
    assert "2 sequences, 24 letters; left out: 1; <oov> share 25.00%; letters changed: {'lower_case': 12}" in printed
    assert f"wrote {tmp_path / 'out' / 'embeddings.npy'} (2, 64)" in printed
    table_out = SequenceEmbeddings.load(tmp_path / "out").table
    assert table_out.to_dict("list")["label"] == [1, 1]
    assert list(table_out) == ["id", "row", "letters", "chunks", "first_chunk", "label"]
