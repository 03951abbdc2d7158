"""Every shipped config builds; every mistake is named, all at once, with the nearest right word."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from genebrain import config, config_files, stored_settings
from genebrain.cli import VERBS
from genebrain.common.types import UserError
from genebrain.help_pages import help_page
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling

REQUIRED = {
    "forget": ["ids=withdrawn.txt"],
    "finetune": ["input=table.tsv"],
    "embed-scans": ["input=scans", "out=somewhere"],
    "convert-scan-encoder": ["path=weights", "encoder=swift", "out=somewhere"],
    "simulate": ["out=somewhere"],
    "embed-sequences": ["input=some.fa", "out=somewhere"],
    "generate": ["out=some.fa"],
    "recover": ["input=some.tsv", "out=somewhere"],
    "scan-report": ["store=some/store/scans"],
    "score-variants": ["variants=some.vcf", "reference=some.fa", "out=some.tsv"],
}
CHOICES = [
    (group, choice)
    for group, choices in config.groups().items()
    for choice in choices
    if group not in ("ablation", "experiment")
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_composes_with_its_defaults_and_binds_to_its_function(verb):
    arguments = config.build(config.compose(verb, REQUIRED.get(verb, [])))
    assert arguments, "a verb without a single option is not configured"


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_of_every_group_builds(group, choice):
    built = config.build(config.compose("fit", [f"{group}={choice}"]))
    key = {"genetics": "genetics"}.get(group, group)
    assert dataclasses.is_dataclass(built[key])


@pytest.mark.parametrize("ablation", config.groups()["ablation"])
def test_every_ablation_names_arms(ablation):
    assert len(config.build(config.compose("ablate", [f"ablation={ablation}"]))["ablation"]["arms"]) >= 2


def test_all_mistakes_are_reported_together_with_suggestions():
    wrong = [
        "poling=mean",
        "pooling=meen",
        "genetics.chunk_pb=3000",
        "seed=abc",
        "trainer.max_epochs=1.5",
        "oops",
    ]
    with pytest.raises(UserError) as caught:
        config.compose("fit", wrong)
    text = str(caught.value)
    assert "6 problem(s)" in text
    for hint in ("'pooling'", "'mean'", "'genetics.chunk_bp'", "seed=abc", "whole number", "'oops'"):
        assert hint in text


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["brain=brainlm", "brain.windws.seconds=3"], "did you mean 'brain.windows.seconds'?"),
        (["brain=brainlm", "brain.windws.secnds=3"], "did you mean 'brain.windows.seconds'?"),
        (["brain.windws.seconds=3"], "'brain' has kind, components, "),
        (["brain.tuning=full"], "it belongs to brain=brainlm, brain=brainlm_tiny, "),
        (["shard=1/2"], "no option 'shard'; it belongs to embed, embed-scans"),
        (["brian=swift_tiny"], "did you mean 'brain'"),
        (["brain=swift", "brain.cleaning.low_pass=0.1"], "it belongs to brain=brainlm, "),
        (["brain=swift", "brain.cleaning.low=0.1"], "'brain.cleaning' has fd_threshold"),
        (["brain.max_epochs=3"], "did you mean 'trainer.max_epochs'?"),
        (["brian.kind=lag0"], "did you mean 'brain.kind'"),
        (["seed.x=3"], "no option 'seed.x'"),
        (["confounds=[age]"], "no option 'confounds'; it is a key of cohort.yaml"),
        (["progress=false"], "TQDM_DISABLE=1 in front"),
    ],
)
def test_a_misspelt_option_is_compared_with_what_may_stand_in_its_place(words, hint):
    with pytest.raises(
        UserError, match=hint.replace("?", r"\?").replace(".*", "@").replace(".", r"\.").replace("@", ".*")
    ):
        config.compose("fit", words)


def test_wrong_values_are_found_by_the_constructors_before_any_work():
    with pytest.raises(UserError) as caught:
        config.compose("fit", ["genetics.chunk_bp=1501", "pooling.token=middle", "alignment.start=random"])
    text = str(caught.value)
    assert "multiple of 6" in text
    assert "pooling.token=middle" in text
    assert "train=residual" in text


def test_what_is_wrong_inside_a_node_is_said_once():
    with pytest.raises(UserError) as caught:
        config.compose("fit", ["brain.cleaning.fd_threshold=-1", "brain.positives=scan"])
    assert "1 problem(s)" in str(caught.value)
    assert "brain.cleaning: cleaning cannot be done so: fd_threshold=-1 mm" in str(caught.value)


def test_a_required_value_that_is_missing_is_asked_for():
    with pytest.raises(UserError, match=r"give 'out=\.\.\.'"):
        config.compose("simulate", [])


def test_described_settings_build_again(tmp_path):
    settings = {"genetics": GeneSide(chunk_bp=3000), "pooling": GenePooling(chunk="mean")}
    stored_settings.save(settings, tmp_path / "config.yaml")
    assert stored_settings.load(tmp_path / "config.yaml") == settings


def test_a_folder_that_is_no_run_is_said_so(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        stored_settings.load(tmp_path / "config.yaml")


def test_yaml_repeats_no_default_that_differs_from_the_constructor():
    """A default that stands in YAML and in the constructor must be the same number in both."""
    fit = OmegaConf.to_container(config.compose("fit"), resolve=True)
    for name, node in fit.items():
        if not isinstance(node, dict) or name == "cohort":
            continue
        values = {k: v for k, v in node.items() if not k.startswith("_") and not isinstance(v, (dict, list))}
        defaults = stored_settings.build({"_target_": node["_target_"]})
        for key, value in values.items():
            ours = getattr(defaults, key)
            same = abs(ours - value) < 1e-5 if isinstance(value, float) else ours == value
            assert same, f"{name}.{key}: {value} in YAML, {ours} in the constructor"


def test_a_plain_option_may_share_its_name_with_a_group():
    assert config.build(config.compose("evaluate", ["split=validation"]))["split"] == "validation"
    with pytest.raises(UserError, match="no choice 'famly'"):
        config.compose("fit", ["split=famly"])


def test_a_held_out_site_can_be_asked_for():
    assert config.build(config.compose("fit", ["split.held_out_site=site02"]))["split"].held_out_site == "site02"


def test_words_of_other_command_lines_are_answered_with_what_to_type():
    with pytest.raises(UserError) as error:
        config.compose("fit", ["my/cohort.yaml", "--run=x", "run=a(b"])
    assert "a cohort is named by cohort.path=my/cohort.yaml" in str(error.value)
    assert "options have no dashes here: run=VALUE" in str(error.value)
    assert "quote values" in str(error.value)


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(config_files, "_own", [])
    folder = tmp_path / "mine"
    (folder / "brain").mkdir(parents=True)
    (folder / "brain" / "no_global.yaml").write_text("# My words.\n_target_: genebrain.ConnectomeSide\nkind: lag0\n")
    return folder


def test_choices_of_a_folder_of_ones_own_are_choices(own_folder):
    own, rest = config_files.take_folders(["--config-dir", str(own_folder), "brain=no_global", "seed=3"])
    assert (own, rest) == ([f"--config-dir={own_folder}"], ["brain=no_global", "seed=3"])
    built = config.build(config.compose("fit", [*rest, "brain.shrinkage=0.2"]))
    assert (built["brain"].kind, built["brain"].shrinkage, built["seed"]) == ("lag0", 0.2, 3)
    page = help_page("fit", "words", ["brain=no_global"])
    assert "My words." in page
    assert re.search(r"brain.kind=lag0 ", page)


def test_the_folder_of_the_documents_works_as_they_say(tmp_path, monkeypatch):
    monkeypatch.setattr(config_files, "_own", [])
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"```bash\n(mkdir -p my_choices.*?)```", text, re.DOTALL)
    lines, commands = block.split("genebrain fit", 1)[0], re.findall(r"^genebrain fit (.*)$", block, re.MULTILINE)
    subprocess.run(["bash", "-ec", lines], check=True)
    _, words = config_files.take_folders(shlex.split(commands[0]))
    assert config.build(config.compose("fit", words))["brain"].kind == "without_global"
    built = config.build(config.compose("fit", ["experiment=paper", "pooling=mean"]))
    assert (built["seed"], built["brain"].kind, built["alignment"].train) == (7, "without_global", "none")
    assert commands[1].startswith("-m --config-dir=my_choices experiment=paper pooling=components,mean ")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("brian/mine.yaml", "kind: lag0", "no group 'brian'; did you mean 'brain'"),
        ("brain/connectome.yaml", "kind: lag0", "brain=connectome is a choice of the package"),
        ("mine.yaml", "kind: lag0", "no choice of a group lies there"),
        ("brain/broken.yaml", "kind: [lag0", "broken.yaml cannot be read"),
        ("brain/words.yaml", "- lag0", "holds no options"),
        ("brain/code.yaml", "_target_: os.system", "is not a settings class"),
    ],
)
def test_a_folder_of_choices_that_cannot_be_is_a_sentence(tmp_path, monkeypatch, file, text, words):
    monkeypatch.setattr(config_files, "_own", [])
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)

    def compose() -> None:
        config_files.take_folders([f"--config-dir={tmp_path}"])
        config.compose("fit", [f"brain={Path(file).stem}"])

    with pytest.raises(UserError, match=words):
        compose()


def test_a_choice_that_is_not_there_says_where_ones_own_would_lie():
    with pytest.raises(UserError, match=r"--config-dir=FOLDER with FOLDER/brain/NAME\.yaml"):
        config.compose("fit", ["brain=mine"])
