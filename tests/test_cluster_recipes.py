"""Recipes for clusters: each is read by the real tool where there is one, and every command in them is one of ours."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genebrain import config
from genebrain.cli import VERBS

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "examples" / "cluster"
PAGES = sorted((ROOT / "docs" / "cluster").glob("*.md"))
COMMAND = re.compile(r"(?<![\w/-])genebrain +(?!\.|:|-)([a-z][a-z-]*(?: +[^\s|;&>`]+)*)")


def stubs(folder: Path, **programs: str) -> dict[str, str]:
    """An environment in which these programs are scripts."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, text in programs.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def composes(command: str) -> None:
    verb, *words = shlex.split(command)
    assert verb in VERBS, command
    config.compose(verb, words)


def test_the_jobs_of_slurm_run_commands_of_ours(tmp_path):
    environment = stubs(tmp_path, genebrain=f'echo "$@" >> {tmp_path}/typed')
    for name in ("embed.sbatch", "align.sbatch"):
        subprocess.run(["bash", RECIPES / name, "c.yaml", "store", "runs/first"], env=environment, check=True)
        options = re.findall(r"^#SBATCH (.*)$", (RECIPES / name).read_text(), re.MULTILINE)
        assert all(re.fullmatch(r"--[a-z-]+(=\S+)?", option) for option in options)
        assert {"--time", "--mem"} <= {option.partition("=")[0] for option in options}
    typed = (tmp_path / "typed").read_text().splitlines()
    assert [line.split()[0] for line in typed] == ["embed", "embed", "fit", "evaluate", "report"]
    assert "shard=next" in typed[0]
    assert "shard" not in typed[1]
    for line in typed:
        composes(line)


def test_submitting_lets_the_alignment_wait_for_the_array(tmp_path):
    environment = stubs(
        tmp_path,
        sbatch=f'echo "$@" >> {tmp_path}/jobs; wc -l < {tmp_path}/jobs',
        genebrain=f'echo "$@" > {tmp_path}/typed',
    )
    words = ["bash", RECIPES / "submit.sh", "c.yaml", "store", "runs/first", "16"]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "2"
    array, align = (tmp_path / "jobs").read_text().splitlines()
    assert "--array=1-16" in array
    assert array.split()[-3:] == [str(RECIPES / "embed.sbatch"), "c.yaml", "store"]
    assert "--dependency=afterany:1" in align
    assert align.split()[-3:] == ["c.yaml", "store", "runs/first"]
    composes((tmp_path / "typed").read_text())


def test_snakemake_plans_every_step(tmp_path):
    if shutil.which("snakemake") is None:
        pytest.skip("snakemake is not installed")
    words = ["snakemake", "-n", "-s", RECIPES / "Snakefile", "--config", "cohort=c.yaml", "shares=3"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    told = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    assert told == {"share": "3", "embed": "1", "fit": "1", "evaluate": "1", "report": "1", "all": "1", "total": "8"}


def test_miniwdl_accepts_the_task():
    if shutil.which("miniwdl") is None:
        pytest.skip("miniwdl is not installed")
    words = ["miniwdl", "check", "--strict", "--suppress", "CommandShellCheck", RECIPES / "align.wdl"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def commands(path: Path) -> list[str]:
    """Commands of a recipe, with names in the place of what the tool fills in."""
    text = path.read_text()
    if path.suffix == ".md":
        blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
        return [line.removeprefix("genebrain ") for line in blocks.splitlines() if line.startswith("genebrain ")]
    text = re.sub(r"\$\{[^}]*\}|~\{[^}]*\}|\{[A-Z]+\}|\"?\$[0-9A-Za-z_]+\"?", "4", text)
    found = [one.strip(" \"'\\") for one in COMMAND.findall(text)]
    return [one for one in found if one.split()[0] in VERBS or "=" in one]  # the others are sentences


@pytest.mark.parametrize("path", [*sorted(RECIPES.iterdir()), *PAGES], ids=lambda p: p.name)
def test_every_command_of_a_recipe_composes(path):
    for command in commands(path):
        composes(command)


def test_recipes_hold_commands():
    for name in ("Snakefile", "main.nf", "align.wdl"):
        verbs = [command.split()[0] for command in commands(RECIPES / name)]
        assert {"embed", "fit", "evaluate", "report"} <= set(verbs), name


def test_nextflow_has_a_process_for_each_step_and_closes_what_it_opens():
    text = (RECIPES / "main.nf").read_text()
    assert set(re.findall(r"^process (\w+)", text, re.MULTILINE)) == {"share", "align"}
    for pair in ("{}", "()"):
        assert text.count(pair[0]) == text.count(pair[1])
    assert text.count('"""') == 4
    assert set(re.findall(r"params\.(\w+)", text)) == {"cohort", "store", "run", "shares"}


def test_containers_copy_what_exists_and_install_the_package():
    docker = (RECIPES / "Dockerfile").read_text()
    instructions = [line.split()[0] for line in docker.replace("\\\n", " ").splitlines() if line and line[0] != "#"]
    assert instructions[0] == "FROM"
    assert set(instructions) <= {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"}
    copied = [word for line in re.findall(r"^COPY (.*)$", docker, re.MULTILINE) for word in line.split()[:-1]]
    apptainer = (RECIPES / "genebrain.def").read_text()
    sections = re.findall(r"^%(\w+)$", apptainer, re.MULTILINE)
    assert sections == ["files", "post", "environment", "runscript"]
    files = apptainer.split("%files\n")[1].split("%post")[0].split("\n")
    listed = [line.split() for line in files if line.strip()]
    assert sorted(copied) == sorted(source for source, _ in listed)
    assert all((ROOT / name).exists() for name in copied)
    assert all(target == f"/opt/genebrain/{source}" for source, target in listed)
    for text in (docker, apptainer):
        assert 'pip install --no-cache-dir -c constraints.txt ".[cluster]"' in text
        assert "--network none" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_of_the_pages_exist_and_blocks_are_marked(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
    assert all(fences[::2])
    assert f"cluster/{page.stem}" in (ROOT / "docs" / "index.md").read_text()


@pytest.mark.slow
def test_the_quickstart_runs_with_the_network_off(tmp_path):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("this machine lets nobody switch the network off (unshare -n)")
    run = tmp_path / "run"
    steps = (
        ["fit", f"run={run}", "cohort.n_subjects=200", f"cohort.folder={tmp_path / 'cohort'}"],
        ["evaluate", f"run={run}", "n_bootstrap=20", "n_permutations=20", "comparisons=[]"],
        ["report", f"run={run}"],
    )
    for words in steps:
        subprocess.run(["unshare", "-n", sys.executable, "-m", "genebrain", *words], cwd=tmp_path, check=True)
    assert "<html" in (run / "report.html").read_text()
