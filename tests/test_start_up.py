"""What starting costs: modules that show help and check a command line import nothing heavy."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import textwrap
import typing

import pytest

HEAVY = (
    "torch", "pytorch_lightning", "lightning", "transformers", "peft", "pandas", "scipy", "sklearn", "nilearn",
    "nibabel", "matplotlib", "cyvcf2", "pysam", "pgenlib", "msprime", "pyarrow", "joblib", "torchmetrics",
)  # fmt: skip
SETTINGS = (
    "genebrain.alignment.settings",
    "genebrain.brain.encoders.settings",
    "genebrain.brain.images.cleaning",
    "genebrain.brain.pretraining.settings",
    "genebrain.brain.pretraining.trainer",
    "genebrain.brain.windows.policy",
    "genebrain.cohort.splits.settings",
    "genebrain.engines.settings",
    "genebrain.genetics.finetuning.settings",
    "genebrain.genetics.model.options",
    "genebrain.sides.connectome",
    "genebrain.sides.estimators.side",
    "genebrain.sides.genome",
    "genebrain.sides.pooling",
    "genebrain.sides.scans",
    "genebrain.sides.vectors.brains",
    "genebrain.sides.vectors.genes",
    "genebrain.simulation.second_settings",
    "genebrain.simulation.source",
    "genebrain.tasks.second_cohort",
    "genebrain.training.settings",
    "genebrain.tasks",
    "genebrain.help_pages",
)


def loaded_after(code: str) -> dict[str, list[str]]:
    """Heavy modules after each step of a program that runs alone."""
    program = f"import json, sys\nheavy, found = {HEAVY!r}, {{}}\n{textwrap.dedent(code)}\nprint(json.dumps(found))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_settings_and_verbs_import_nothing_heavy():
    found = loaded_after(
        f"""
        import importlib
        for name in {SETTINGS!r}:
            importlib.import_module(name)
            found[name] = [one for one in heavy if one in sys.modules]
        """
    )
    assert found == {name: [] for name in SETTINGS}


def test_public_settings_and_verbs_come_from_these_modules():
    """No settings class is left out of the list above."""
    import genebrain
    from genebrain import config_files, stored_settings

    homes = set()
    for path in config_files.config_folder().rglob("*.yaml"):
        for line in path.read_text().splitlines():
            if "_target_:" in line:
                name = line.split("_target_:")[1].strip(" {}").split(",")[0]
                homes.add(stored_settings.settings_class(name).__module__)
    assert homes <= set(SETTINGS)
    assert genebrain.fit.__module__.startswith("genebrain.tasks")


def test_types_of_all_options_can_be_read():
    """What an option takes decides how its words are read: no annotation may name what is not imported."""
    import genebrain
    from genebrain import config_files, stored_settings
    from genebrain.cli import VERBS
    from genebrain.config import file_name

    for verb in VERBS:
        function = getattr(genebrain, file_name(verb))
        assert typing.get_type_hints(function).keys() >= inspect.signature(function).parameters.keys()
    for name in sorted(genebrain.__all__):
        if name.endswith(
            ("Settings", "Side", "Policy", "Options", "Source", "Cleaning", "Augmentation", "GenePooling")
        ):
            kind = stored_settings.settings_class(f"genebrain.{name}")
            hints = typing.get_type_hints(kind)  # of inherited fields too, each in its own module
            assert config_files.defaults_of(kind).keys() - {"_target_"} <= hints.keys()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["fit", "--help"],
        ["fit", "poling=mean"],
        ["fit", "brain.kind=x"],
        ["fit", "brain=brainlm", "brain.sise=x"],
        ["fit", "brain=brainlm", "brain.size=x", "trainer.max_epochs=none"],
    ],
)
def test_help_and_typos_are_answered_without_heavy_imports(words):
    found = loaded_after(
        f"""
        from genebrain.cli import main
        main({words!r})
        found["end"] = [one for one in heavy if one in sys.modules]
        """
    )
    assert found == {"end": []}


def test_a_verb_imported_from_the_package_loads_no_torch_until_it_is_called():
    found = loaded_after(
        """
        from genebrain import fit
        found["fit"] = [one for one in heavy if one in sys.modules]
        """
    )
    assert found == {"fit": []}


def test_vectors_are_fitted_trained_and_judged_without_adapters_and_the_closed_form_without_lightning(tmp_path):
    slow, training = ("peft", "statsmodels"), ("pytorch_lightning", "torchmetrics", "transformers")
    found = loaded_after(
        f"""
        import numpy as np, genebrain
        rng = np.random.default_rng(0)
        genes = rng.normal(size=(60, 4))
        trainer = genebrain.TrainerSettings(max_epochs=2, accelerator="cpu")
        closed = genebrain.AlignmentSettings(train="none")
        pair = {{"genes": genes, "brains": genes + 0.2, "progress": False}}
        run = genebrain.fit(alignment=closed, run={str(tmp_path / "a")!r}, **pair)
        genebrain.evaluate(run, comparisons=(), progress=False, n_bootstrap=20, n_permutations=20)
        found["closed form"] = [one for one in {training} if one in sys.modules]
        run = genebrain.fit(trainer=trainer, run={str(tmp_path / "b")!r}, **pair)
        genebrain.evaluate(run, progress=False, n_bootstrap=20, n_permutations=20)
        found["end"] = [one for one in {slow} if one in sys.modules]
        """
    )
    assert found == {"closed form": [], "end": []}
