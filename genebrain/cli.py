"""The command line: ``genebrain VERB [key=value ...]``.

Each verb is a function of :mod:`genebrain.tasks` and a file ``configs/<verb>.yaml`` (a hyphen becomes an underscore). A
single run composes the configuration here; a sweep (``-m``) is handed to Hydra, whose launchers (local, SLURM) then run
the same function.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from genebrain.common.registry import load_plugins
from genebrain.common.types import UserError
from genebrain.common.words import nearest
from genebrain.engines.cores import wait_politely
from genebrain.messages import first_rank, show_messages

VERBS = {
    "simulate": "write a cohort whose best possible score is known",
    "check": "name every problem of a cohort and print who is paired with what",
    "plan": "predict the work of the DNA encoder before anything runs",
    "embed": "run the DNA encoder once on every distinct piece of sequence; ingest the scans",
    "embed-scans": "embed a folder or table of scans with any scan encoder; no cohort needed",
    "scan-report": "one page about the scans: motion, losses, coverage, what is not used and why",
    "fit": "train an alignment (embeds what is missing first)",
    "evaluate": "judge a run on its test subjects: metrics.json and figures",
    "controls": "what must give chance, and what simpler readings of the genome give: controls.json",
    "report": "one page to read: report.html",
    "compare": "judged runs side by side, with intervals: CSV, Markdown, LaTeX",
    "export": "vectors of the people of a run as parquet, for your own analysis",
    "search": "which scans fit this genome best, or which genomes this scan",
    "ablate": "run a grid, e.g. over pooling strategies: results.csv",
    "embed-sequences": "vectors of the sequences of a FASTA, TSV or parquet file; no cohort needed",
    "score-variants": "how much less likely the DNA model finds each variant than the reference",
    "generate": "continue DNA sequences with the DNA model",
    "recover": "how well the DNA model continues real sequences, per type, against chance",
    "pretrain": "train a scan encoder on scans alone, without labels",
    "finetune": "tune the DNA model on a table of labelled sequences, or as a language model",
    "probe": "what a scan encoder knows of a person: age, sex, any column, against chance and the connectome",
    "power": "which effect can a cohort of this size detect? Ask before training",
    "models": "list the published models: size, memory, pinned revision, whether they are here",
    "convert-scan-encoder": "check published weights of a scan encoder and write them once as safetensors",
    "store": "list, verify or prune what was computed from a cohort",
    "forget": "delete everything individual of people who withdrew, from store and runs",
}
READS_RUNS = ("evaluate", "report", "controls", "export", "search")
"""Verbs whose ``run`` is a finished run: a sweep goes over runs; of the others it is the folder above all new runs."""
KEPT = ("fit", "evaluate", "controls", "report", "ablate", "pretrain")
"""Verbs whose command is kept in the run folder, as ``commands.log``."""
FIRST_WORD = {"store": "action", "forget": "ids"}
"""Option that the first word after a verb fills, where it is no ``key=value``."""

NAME_ERRORS = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
"""Of a path that cannot be one, or is a file where a folder is wanted, or the other way round."""
STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the user, not the program, must mend: no room, no permission."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 2 something the user can mend, 130 interrupted)."""
    wait_politely()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"] and arguments[1:2]:
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return _told(_overview())
    if arguments[0] == "--version":
        from genebrain import __version__

        print(__version__)
        return 0
    verb, rest = arguments[0], named_first(arguments[0], arguments[1:])
    try:
        return _run(verb, rest)
    except UserError as error:
        print(f"genebrain {verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\ngenebrain {verb}: interrupted; what was finished is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        return _unread()
    except MemoryError as error:
        words = f"not enough memory ({' '.join(str(error).split())[:200]}); make what was asked for smaller"
        print(f"genebrain {verb}: {words}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno in NAME_ERRORS and error.filename:
            print(f"genebrain {verb}: {error.strerror}: {str(error.filename)[:200]}", file=sys.stderr)
            return 2
        if error.errno not in STORAGE_ERRORS:
            raise
        place = f" ({error.filename})" if error.filename else ""
        print(
            f"genebrain {verb}: cannot write: {error.strerror}{place}; what was finished is kept, make room or choose "
            "another folder and run the same command again",
            file=sys.stderr,
        )
        return 2


def _told(text: str) -> int:
    """Print a page that the reader may leave before its end (``genebrain | head``)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        return _unread()
    return 0


def _unread() -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def named_first(verb: str, words: Sequence[str]) -> list[str]:
    """Words after a verb; the first one as ``key=value`` where the verb takes a plain one (``store list``)."""
    if verb in FIRST_WORD and words and "=" not in words[0] and not words[0].startswith("-"):
        return [f"{FIRST_WORD[verb]}={words[0]}", *words[1:]]
    return list(words)


def _run(verb: str, rest: list[str]) -> int:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError("the folder in which this is called is not there any more: go to another one") from error
    from genebrain import config, config_files

    show_messages()
    if verb not in VERBS:
        raise UserError(f"no such verb{nearest(verb, VERBS)} (verbs: {', '.join(VERBS)})")
    own, rest = config_files.take_folders(rest)
    if {"-h", "--help"} & set(rest):
        from genebrain.help_pages import help_page

        return _told(help_page(verb, VERBS[verb], [word for word in rest if word not in ("-h", "--help")]))
    plugins, rest = _plugins(_named_runs(rest) if verb == "compare" else rest)
    load_plugins(plugins)
    # Telemetry and hub look-ups stay off unless the user's environment says otherwise.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("WANDB_MODE", "disabled")
    if {"-m", "--multirun"} & set(rest):
        return _sweep(verb, [r for r in rest if r not in ("-m", "--multirun")], config)
    arguments = config.build(config.compose(verb, rest))
    _call(verb, arguments)
    _keep_command(verb, arguments, [verb, *own, *(f"plugins=[{one}]" for one in plugins), *rest])
    return 0


def _named_runs(rest: list[str]) -> list[str]:
    """Words without an option's name are runs to compare."""
    runs = [word for word in rest if "=" not in word and not word.startswith("-")]
    quoted = ",".join('"' + run.replace("\\", "\\\\").replace('"', '\\"') + '"' for run in runs)
    return [word for word in rest if word not in runs] + ([f"runs=[{quoted}]"] if runs else [])


def _plugins(rest: list[str]) -> tuple[list[str], list[str]]:
    """Modules or files of ``plugins=[a,b]``, and the other words; only the user's own words name a plugin."""
    named = [word for word in rest if word.startswith("plugins=")]
    plugins = [one.strip(" '\"") for word in named for one in word.removeprefix("plugins=").strip("[]").split(",")]
    return [one for one in plugins if one], [word for word in rest if word not in named]


def _call(verb: str, arguments: dict[str, Any]) -> Any:
    from genebrain import config, tasks
    from genebrain.common.leftovers import sweep_output

    if verb in READS_RUNS and not Path(str(arguments["run"])).exists():  # before seconds of imports
        raise UserError(f"there is no run folder {arguments['run']}; make one with 'genebrain fit'")
    if out := arguments.get("out"):
        sweep_output(Path(out))
    return getattr(tasks, config.file_name(verb))(**arguments)


def _keep_command(verb: str, arguments: Mapping[str, Any], words: Sequence[str]) -> None:
    """Write what was typed into the folder of the run that it made or judged."""
    folder = Path(str(arguments.get("run")))
    if verb not in KEPT or arguments.get("out") is not None or not folder.is_dir() or not first_rank("stdout"):
        return
    from genebrain.common.files import write_private  # numpy: too slow for a page of help
    from genebrain.common.leftovers import sweep_output

    log = folder / "commands.log"  # read and written anew: nothing goes through a link
    typed = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {shlex.join(['genebrain', *words])}\n"
    with suppress(OSError, UserError):
        sweep_output(log)
        write_private(
            log, (log.read_bytes() if log.is_file() and not log.is_symlink() else b"") + typed.encode()
        )  # it names paths


def _sweep(verb: str, overrides: list[str], config: Any) -> int:
    """Give a sweep to Hydra: every combination becomes a run folder below ``run``, or is asked of every run named.

    A combination that the user must mend is told, and the others are done; the exit code is 2 then.
    """
    import hydra

    own = [o for o in overrides if not o.startswith("hydra")]
    singles = [_first_of_sweep(o) for o in own]
    fixed = [o.partition("=")[0] for o, single in zip(own, singles, strict=True) if o == single]
    checked = config.compose(verb, singles)
    launcher = next((o for o in overrides if o.startswith("hydra/launcher=")), "hydra/launcher=basic")
    _refuse_launcher(launcher, checked.get("trainer", {}).get("devices", 1))
    folder, reads = Path(str(checked.get("run", f"runs/{verb}"))), verb in READS_RUNS
    swept = folder.parent / f".sweep-{verb}" if reads else folder
    here, failed = launcher == "hydra/launcher=basic", list[str]()

    def job(cfg: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        name = HydraConfig.get().job.override_dirname.replace("/", "_") or "run"
        # A launched DDP child repeats the command it sees: it must see ours, with the verb.
        sys.argv = ["genebrain", verb, *overrides]
        problems = config.check(cfg, verb)
        if problems:
            raise UserError("; ".join(problems))
        arguments = config.build(cfg)
        if reads:
            if arguments.get("out") is not None and "out" in fixed:
                arguments["out"] = _own_place(Path(str(arguments["out"])), name)
        elif "run" in arguments:
            arguments["run"] = folder / name
        try:
            _call(verb, arguments)
            _keep_command(verb, arguments, [verb, *overrides])
        except UserError as error:
            if not here:  # a job of a cluster fails as itself
                raise
            failed.append(name)
            print(f"genebrain {verb}: {name}: {error}", file=sys.stderr)

    job.__module__ = "__main__"
    sys.argv = [
        "genebrain",
        "--multirun",
        f"hydra.sweep.dir={swept}",
        "hydra.sweep.subdir=.hydra-${hydra.job.num}",
        "hydra.job.config.override_dirname.item_sep=_",
        "hydra.job.config.override_dirname.kv_sep=-",  # a folder with = in its name cannot be typed without quotes
        f"hydra.job.config.override_dirname.exclude_keys=[{','.join(fixed)}]",
        *[o for o in overrides if reads or not o.startswith("run=")],
    ]
    hydra.main(config_path=None, config_name=config.file_name(verb), version_base="1.3")(job)()
    if reads and here:
        shutil.rmtree(swept, ignore_errors=True)  # Hydra's notes: what was found lies in the runs
    return 2 if failed else 0


def _refuse_launcher(launcher: str, devices: Any) -> None:
    """Say before any work that a launcher is not here, or starts combinations in another number than is meant."""
    if "submitit" in launcher and not find_spec("hydra_plugins.hydra_submitit_launcher"):
        raise UserError(f"{launcher} needs the launcher of SLURM: pip install 'genebrain[slurm]'")
    if launcher.endswith("submitit_slurm") and not shutil.which("srun"):
        raise UserError(
            f"{launcher}: this machine has no SLURM (no srun on PATH); type it on a login node of a cluster"
        )
    if devices not in (1, "1", "auto") and "submitit" not in launcher:
        raise UserError(
            f"a sweep (-m) with trainer.devices={devices} would start every combination once per device: use "
            "hydra/launcher=submitit_slurm with one task per device, or sweep with trainer.devices=1"
        )


def _own_place(out: Path, name: str) -> Path:
    """Where one combination of a sweep writes: a folder below ``out``, or a file beside it."""
    return out.with_name(f"{out.stem}-{name}{out.suffix}") if out.suffix else out / name


def _first_of_sweep(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key}={value.split(',')[0]}" if not value.startswith(("[", "{", "'", '"')) else override


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
    return (
        "genebrain aligns genomes with brain scans and says honestly whether the alignment is real.\n\n"
        f"usage: genebrain VERB [key=value ...] [plugins=[my_module]] [--config-dir=FOLDER]\n\n{lines}\n\n"
        "genebrain VERB --help explains a verb and its options. Start with: genebrain fit"
    )


if __name__ == "__main__":
    sys.exit(main())
