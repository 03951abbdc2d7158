"""DNA encoders of others: models of Transformers in a folder, and Carbon, against the models asked directly."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from genebrain.common.types import UserError
from genebrain.genetics.encoders.carbon import SHIFT, CarbonEncoder, carbon_ids
from genebrain.genetics.encoders.plain import check_dna_encoder, make_encoder
from genebrain.genetics.encoders.pretrained import PretrainedEncoder
from genebrain.genetics.encoders.protocol import DNAWeights
from genebrain.genetics.model.tokenizer import SixMerTokenizer
from genebrain.sides.genome import GeneSide

TEXTS = ["ACGTTGCAAG" * 3, "GATTACA", "CCCTGA" * 4 + "N" * 3 + "TT", "ACGTAC", "TTTAGGC" * 6]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def fast(tokenizer: Tokenizer, **marks) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)


def with_marks(vocabulary: list[str], split) -> PreTrainedTokenizerFast:
    words = {word: number for number, word in enumerate([*MARKS, *vocabulary])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return fast(
        tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )


def masked(folder: Path, tokenizer: PreTrainedTokenizerFast, positions: int = 128) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertForMaskedLM(
        BertConfig(vocab_size=len(tokenizer), max_position_embeddings=positions, pad_token_id=0, **sizes)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A masked model of characters, a masked model of overlapping 3-mers, a causal model of byte pairs."""
    root = tmp_path_factory.mktemp("models")
    single = pre_tokenizers.Split("", "isolated")
    characters = masked(root / "characters", with_marks(list("ACGTN"), single))
    lower = masked(root / "lower", with_marks(list("acgtn"), single))
    words = ["".join(word) for word in product("ACGT", repeat=3)]
    kmers = masked(root / "kmers", with_marks(words, pre_tokenizers.WhitespaceSplit()))
    pairs = Tokenizer(models.BPE(unk_token="<unk>"))
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 200)) for _ in range(20)]
    pairs.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>"]))
    tokenizer = fast(pairs, unk_token="<unk>")
    torch.manual_seed(1)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=24, n_layer=2, n_head=2)
    ).save_pretrained(root / "pairs")
    tokenizer.save_pretrained(root / "pairs")
    return {"characters": characters, "lower": lower, "kmers": kmers, "pairs": root / "pairs"}


def direct(folder: Path, text: str) -> torch.Tensor:
    """Hidden states of one string, by Transformers alone: the marks taken off."""
    name = folder.name
    if name == "lower":
        text = text.lower()
    if name == "kmers":
        text = " ".join(text[i : i + 3] for i in range(len(text) - 2))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    kind = GPT2LMHeadModel if name == "pairs" else BertForMaskedLM
    model = kind.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
    return states if name == "pairs" else states[1:-1]


@pytest.mark.parametrize("name", ["characters", "lower", "kmers", "pairs"])
def test_vectors_are_those_of_the_model_asked_directly(name, folders):
    encoder = make_encoder(DNAWeights("transformers", path=str(folders[name])))
    assert isinstance(encoder, PretrainedEncoder)
    assert encoder.tokenizer.way == {"lower": "lower", "kmers": "3-mers"}.get(name, "upper")
    found = encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        states = direct(folders[name], text)
        wanted = {"mean": states.mean(dim=0), "max": states.amax(dim=0), "last": states[-1]}
        for pooling, vector in wanted.items():
            assert torch.allclose(found[pooling][row], vector, atol=2e-5), (text, pooling)
    check_dna_encoder(encoder, name)


def test_a_head_that_is_not_read_is_no_news_and_weights_that_are_not_there_are_refused(folders, tmp_path, capfd):
    folder = tmp_path / "cut"
    shutil.copytree(folders["characters"], folder)
    PretrainedEncoder(DNAWeights("transformers", path=str(folder))).encode(TEXTS)
    assert "MISSING" not in "".join(capfd.readouterr())
    weights = load_file(folder / "model.safetensors")
    gone = [name for name in weights if "layer.1.attention.self" in name]
    save_file({name: one for name, one in weights.items() if name not in gone}, folder / "model.safetensors")
    with pytest.raises(UserError, match=rf"{len(gone)} weights of the model are not in the files.*encoder.layer.1"):
        PretrainedEncoder(DNAWeights("transformers", path=str(folder))).encode(TEXTS)


def test_the_identity_changes_with_weights_and_tokenizer(folders, tmp_path):
    one = PretrainedEncoder(DNAWeights("transformers", path=str(folders["characters"]))).fingerprint
    assert one == PretrainedEncoder(DNAWeights("transformers", path=str(folders["characters"]))).fingerprint
    assert one != PretrainedEncoder(DNAWeights("transformers", path=str(folders["lower"]))).fingerprint


def test_chunks_that_are_too_long_and_folders_that_cannot_be_read_are_refused(folders, tmp_path):
    encoder = PretrainedEncoder(DNAWeights("transformers", path=str(folders["characters"])))
    with pytest.raises(UserError, match=r"reads 128 tokens, and 600 letters are 602: .*genetics\.chunk_bp=114"):
        encoder.encode(["ACGTAC" * 100])
    with pytest.raises(UserError, match=r"name it with genetics\.path=FOLDER"):
        make_encoder(DNAWeights("transformers"))
    with pytest.raises(UserError, match=r"no config\.json"):
        make_encoder(DNAWeights("transformers", path=str(tmp_path)))
    english = masked(tmp_path / "english", with_marks(["the", "cat"], pre_tokenizers.WhitespaceSplit()))
    with pytest.raises(UserError, match="its tokenizer does not know DNA: 100% of the tokens"):
        _ = PretrainedEncoder(DNAWeights("transformers", path=str(english))).tokenizer
    config = json.loads((english / "config.json").read_text())
    (english / "config.json").write_text(
        json.dumps(config | {"model_type": "caduceus", "auto_map": {"AutoModel": "m.C"}})
    )
    with pytest.raises(UserError, match=r"'caduceus' is none that Transformers has \(it asks for code of its own"):
        _ = PretrainedEncoder(DNAWeights("transformers", path=str(english))).config
    with pytest.raises(UserError, match=r"leave out genetics\.layer"):
        GeneSide(name="transformers", path=str(english), layer=-2)
    assert GeneSide(name="transformers", path=str(english), chunk_bp=500).own


@pytest.fixture(scope="module")
def carbon(tmp_path_factory) -> Path:
    """A tiny random Carbon with the whole vocabulary."""
    folder = tmp_path_factory.mktemp("carbon")
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=155_776, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=32, max_position_embeddings=32_768, rope_theta=5e6, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def by_arithmetic(text: str) -> list[int]:
    """Ids of Carbon written out: text vocabulary, three marks, then 6-mers in the order of A, T, C, G."""
    words = {"".join(word): 151_672 + number for number, word in enumerate(product("ATCG", repeat=6))}
    text = text + "A" * (-len(text) % 6)
    return [151_669, *(words.get(text[i : i + 6], 151_671) for i in range(0, len(text), 6))]


def test_ids_of_carbon_are_those_of_generator_shifted():
    words = SixMerTokenizer()
    assert carbon_ids("AAAAAA").tolist() == [151_669, 151_672]
    assert carbon_ids("CCCCCC")[1] == 154_402
    assert carbon_ids("GGGGGG")[1] == words.encode("GGGGGG")[0] + SHIFT == 155_767
    for text in [*TEXTS, "acgtac", "A", "ACGTACNACGTA"]:
        assert carbon_ids(text).tolist() == by_arithmetic(text.upper())


def test_vectors_of_carbon_are_those_of_the_whole_model(carbon):
    encoder = make_encoder(DNAWeights("carbon_500m", path=str(carbon)))
    assert isinstance(encoder, CarbonEncoder)
    assert encoder.model.embed_tokens.weight.shape == (155_776 - 151_669, 16)
    found = encoder.encode(TEXTS)
    whole = LlamaForCausalLM.from_pretrained(carbon).eval()
    for row, text in enumerate(TEXTS):
        with torch.inference_mode():
            ids = torch.tensor([by_arithmetic(text)])
            states = whole(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
            bare = whole(input_ids=ids[:, 1:], output_hidden_states=True).hidden_states[-1][0]
        wanted = {"mean": states[1:].mean(dim=0), "max": states[1:].amax(dim=0), "last": states[-1]}
        for pooling, vector in wanted.items():
            assert torch.allclose(found[pooling][row], vector, atol=2e-5), (text, pooling)
        assert not torch.allclose(found["mean"][row], bare.mean(dim=0), atol=1e-3)  # <dna> is read
    check_dna_encoder(encoder, "carbon")


def test_other_weights_and_long_chunks_are_refused(carbon, folders, tmp_path):
    with pytest.raises(UserError, match=r"model_type 'bert' with vocab_size 10, but Carbon is 'llama' with 155,776"):
        _ = CarbonEncoder(DNAWeights("carbon_3b", path=str(folders["characters"]))).hidden_size
    with pytest.raises(UserError, match=r"reads 32,768 tokens of six letters, and a chunk has 33,001"):
        CarbonEncoder(DNAWeights("carbon_3b", path=str(carbon))).encode(["ACGTAC" * 33_000])
    config = json.loads((carbon / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    (tmp_path / "model.safetensors").symlink_to(carbon / "model.safetensors")
    with pytest.raises(UserError, match=r"weights 9 missing \(layers\.2\."):
        _ = CarbonEncoder(DNAWeights("carbon_3b", path=str(tmp_path))).model
    with pytest.raises(UserError, match="HuggingFaceBio/Carbon-8B at revision main is not in the local hub cache"):
        _ = CarbonEncoder(DNAWeights("carbon_8b")).fingerprint
