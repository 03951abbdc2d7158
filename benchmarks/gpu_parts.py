"""Parts of the GPU script: each measures one thing on a device and yields rows as it goes.

A row is ``(what, value)``. Sizes are ``full`` (a GPU of 40 GB or more) or ``small`` (seconds on a CPU, so that no part
can be broken by typing). What a machine lacks is a ``Skipped`` that says what.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.long_context import PEAK_TFLOPS, SHAPE_1_2B, forward_flops, random_model, synchronise, timed

Row = tuple[str, str]
SMALL_SHAPE = dict(SHAPE_1_2B, hidden_size=64, intermediate_size=176, num_hidden_layers=2, num_attention_heads=4)
MEGABASE = 1_000_000 // 6


class Skipped(Exception):  # noqa: N818 - no error
    """A part, or a row of it, that this machine cannot do; the words say why."""


class Bench:
    """The device and the size of a run."""

    def __init__(self, device: str, size: str) -> None:
        self.device, self.full = torch.device(device), size == "full"
        self.shape = SHAPE_1_2B if self.full else SMALL_SHAPE
        self.is_gpu = self.device.type == "cuda"

    def seconds(self, work: Callable[[], object], repeats: int = 5) -> float:
        """Median time of some work, after one run that is not counted."""
        work()
        found = []
        for _ in range(repeats if self.full else 1):
            synchronise(self.device)
            start = time.perf_counter()
            work()
            synchronise(self.device)
            found.append(time.perf_counter() - start)
        return statistics.median(found)

    def peak(self, work: Callable[[], object]) -> str:
        """Memory of the device above what was there before."""
        if not self.is_gpu:
            work()
            return "memory not measured"
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        synchronise(self.device)
        return f"{(torch.cuda.max_memory_allocated() - before) / 1e9:.2f} GB"

    def model(self, **options: object):
        """A decoder of the 1.2B shape with random weights."""
        from genebrain.genetics.model.acceleration import check_runnable
        from genebrain.genetics.model.options import ModelOptions

        chosen = ModelOptions(**options)  # type: ignore[arg-type]
        check_runnable(chosen, self.device, torch.bfloat16 if self.is_gpu else torch.float32)
        return random_model(self.shape, chosen, self.device)


def difference(one: Tensor, other: Tensor) -> str:
    """Largest difference, as a share of the largest value."""
    one, other = one.detach().float().cpu(), other.detach().float().cpu()
    return f"{float((one - other).abs().max() / one.abs().max().clamp_min(1e-12)):.1e} of the largest value"


def parity(bench: Bench) -> Iterator[Row]:
    """Numbers of every encoder, loss and scan on the device against those of the CPU, float32."""
    from genebrain.alignment.losses.infonce import InfoNCE
    from genebrain.alignment.losses.siglip import SigLIP
    from genebrain.brain.encoders.build import build_encoder
    from genebrain.brain.encoders.settings import EncoderSettings
    from genebrain.brain.models.brainmt.selective_scan import selective_scan
    from genebrain.genetics.model.backbone import load_generator
    from genebrain.genetics.model.encode import encode_batch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name in ("brainlm", "brainlm_vit", "swift", "brainmt"):
        settings = EncoderSettings(name)
        scans = {"n_parcels": 424} if settings.reads == "parcels" else {"grid": (16, 16, 16)}
        encoder = build_encoder(settings, **scans).eval()  # type: ignore[arg-type]
        frame = (424,) if settings.reads == "parcels" else (16, 16, 16)
        window = torch.randn(2, encoder.frames, *frame, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            on_cpu = encoder(window)
            yield name, difference(on_cpu, encoder.to(bench.device)(window.to(bench.device)))
    ids = torch.randint(32, 4128, (4, 60), generator=torch.Generator().manual_seed(0))
    models = [load_generator(dtype=torch.float32, device=device) for device in ("cpu", bench.device)]
    with torch.inference_mode():
        found = [encode_batch(m, ids.to(m.device), torch.ones_like(ids).to(m.device))["mean"] for m in models]
    yield "GENERator (tiny)", difference(*found)
    for name, loss in (("InfoNCE", InfoNCE()), ("SigLIP", SigLIP())):
        results = []
        for device in (torch.device("cpu"), bench.device):
            batch = [value.detach().to(device).requires_grad_(value.is_floating_point()) for value in pairs(96)]
            loss.to(device)(*batch).backward()
            results.append(batch[0].grad)
        yield f"gradient of {name}", difference(*results)
    inputs = scan_inputs(8, 500)
    on_cpu = selective_scan(*inputs)[0]
    yield "selective scan", difference(on_cpu, selective_scan(*(value.to(bench.device) for value in inputs))[0])


def pairs(n: int) -> list[Tensor]:
    """A batch of the losses: both sides, the scale, ids of genomes and families."""
    generator = torch.Generator().manual_seed(0)
    sides = [torch.nn.functional.normalize(torch.randn(n, 512, generator=generator)) for _ in range(2)]
    return [*sides, torch.tensor([2.66]), torch.arange(n), torch.arange(n)]


def scan_inputs(channels: int, length: int, state: int = 16) -> list[Tensor]:
    """Sequences ``u, delta, A, B, C`` of a selective scan."""
    generator = torch.Generator().manual_seed(0)
    u, delta = (torch.randn(1, channels, length, generator=generator) for _ in range(2))
    maps = [torch.randn(1, state, length, generator=generator) for _ in range(2)]
    return [u, torch.nn.functional.softplus(delta - 3), -torch.arange(1.0, state + 1).repeat(channels, 1), *maps]


def kernels(bench: Bench) -> Iterator[Row]:
    """Tokens per second of the 1.2B shape with each kernel, chunks of 250 tokens."""
    from genebrain.common.types import UserError

    length, batch = (250, 128) if bench.full else (20, 2)
    ids = torch.randint(32, 4128, (batch, length), device=bench.device)
    choices: dict[str, dict[str, object]] = {
        "sdpa": {}, "eager": {"attention": "eager"}, "flash-attn": {"attention": "flash_attention_2"},
        "sdpa, liger": {"liger": True}, "sdpa, compiled": {"compile": True},
    }  # fmt: skip
    for name, options in choices.items():
        if options.get("compile") and not bench.is_gpu:
            yield name, "skipped: compiling takes minutes on a CPU"
            continue
        try:
            model = bench.model(**options)
        except UserError as error:
            yield name, f"skipped: {str(error).split('. The defaults')[0]}"
            continue
        seconds = bench.seconds(lambda model=model: timed(model, ids, torch.ones_like(ids)))  # type: ignore[misc]
        yield name, f"{batch * length / seconds:,.0f} tokens/s"
        del model


def lengths(bench: Bench) -> Iterator[Row]:
    """Tokens per second and share of the device's bfloat16 peak, by the length of chunks."""
    model = bench.model()
    name = torch.cuda.get_device_name() if bench.is_gpu else ""
    peak = next((value for key, value in PEAK_TFLOPS.items() if key in name), None)
    for length in (250, 512, 1024, 2048) if bench.full else (20, 40):
        batch = max(1, (32_768 if bench.full else 80) // length)
        ids = torch.randint(32, 4128, (batch, length), device=bench.device)
        seconds = bench.seconds(lambda ids=ids: timed(model, ids, torch.ones_like(ids)), 8)  # type: ignore[misc]
        rate = forward_flops(model.model.config, batch, length) / seconds / 1e12
        share = f", {rate / peak:.0%} of the peak" if peak else ""
        yield f"{length} tokens x {batch}", f"{batch * length / seconds:,.0f} tokens/s, {rate:,.3g} TFLOP/s{share}"


def packed(bench: Bench) -> Iterator[Row]:
    """Packed batches of chunks against one at a time."""
    model = bench.model()
    n, length = (128, 250) if bench.full else (4, 20)
    ids = torch.randint(32, 4128, (n, length), device=bench.device)
    one = bench.seconds(lambda: [timed(model, row[None], torch.ones_like(row[None])) for row in ids], 2)
    together = bench.seconds(lambda: timed(model, ids, torch.ones_like(ids)), 5)
    yield (
        f"{n} chunks of {length} tokens",
        f"{one:.3g} s one by one, {together:.3g} s packed: {one / together:.1f} times",
    )


def megabase(bench: Bench) -> Iterator[Row]:
    """One million bases through a sliding window: time and memory."""
    from genebrain.genetics.model.sliding_window import pool_stream

    window, segment = (16_384, 2048) if bench.full else (64, 32)
    model = bench.model(context="sliding_window", window=window, segment_tokens=segment)
    tokens = MEGABASE if bench.full else 300
    ids = torch.randint(32, 4128, (1, tokens))
    start = time.perf_counter()
    with torch.inference_mode():
        memory = bench.peak(lambda: pool_stream(model, ids))
    yield f"{tokens * 6:,} bases", f"{time.perf_counter() - start:.1f} s, {memory} above the weights"


def swift(bench: Bench) -> Iterator[Row]:
    """SwiFT: segments against roll and mask, forward and backward."""
    from benchmarks import swift as forms
    from genebrain.brain.models.swift.config import SwiFTConfig
    from genebrain.brain.models.swift.model import SwiFT

    config = SwiFTConfig() if bench.full else SwiFTConfig(img_size=(48, 48, 48, 4), embed_dim=12)
    model = SwiFT(config).eval()
    model.initialise(seed=0)
    model = model.to(bench.device)
    scan = torch.randn(1, 1, *config.img_size).to(bench.device)
    for task in ("forward", "forward + backward"):
        for form in ("segments", "masked"):
            try:
                seconds = bench.seconds(lambda f=form, t=task: forms.run(f, t, model, scan), 3)  # type: ignore[misc]
                memory = bench.peak(lambda f=form, t=task: forms.run(f, t, model, scan))  # type: ignore[misc]
            except torch.OutOfMemoryError:
                yield f"{task}, {form}", "out of memory"
                continue
            yield f"{task}, {form}", f"{seconds:.3g} s, {memory}"


def scan(bench: Bench) -> Iterator[Row]:
    """The selective scan of BrainMT against mamba-ssm."""
    from genebrain.brain.models.brainmt.selective_scan import selective_scan

    channels, length = (1024, 50_401) if bench.full else (8, 200)
    inputs = [value.to(bench.device) for value in scan_inputs(channels, length)]
    with torch.inference_mode():
        yield "two levels", f"{bench.seconds(lambda: selective_scan(*inputs), 3):.3g} s"
        if find_spec("mamba_ssm") is None or not bench.is_gpu:
            yield (
                "mamba-ssm",
                "skipped: it is not installed" if bench.is_gpu else "skipped: it runs on NVIDIA GPUs only",
            )
            return
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        yield "mamba-ssm", f"{bench.seconds(lambda: selective_scan_fn(*inputs), 3):.3g} s"


def infonce(bench: Bench) -> Iterator[Row]:
    """Tiled InfoNCE, forward and backward."""
    from genebrain.alignment.losses.infonce import InfoNCE

    loss = InfoNCE().to(bench.device)
    for n in (8_192, 32_768, 65_536) if bench.full else (64, 128):
        batch = [value.to(bench.device).requires_grad_(value.is_floating_point()) for value in pairs(n)]
        seconds = bench.seconds(lambda batch=batch: loss(*batch).backward(), 3)  # type: ignore[misc]
        memory = bench.peak(lambda batch=batch: loss(*batch).backward())  # type: ignore[misc]
        yield f"{n:,} pairs", f"{seconds:.3g} s, {memory} above the vectors"


def ddp(bench: Bench) -> Iterator[Row]:
    """Distributed data parallel with one device: the gradient of a step is that of a plain one."""
    import torch.distributed as dist

    from genebrain.alignment.losses.infonce import InfoNCE

    if not dist.is_available():
        raise Skipped("this PyTorch has no torch.distributed")
    with tempfile.TemporaryDirectory() as folder:
        place = f"file://{folder}/meeting"
        dist.init_process_group("nccl" if bench.is_gpu else "gloo", init_method=place, rank=0, world_size=1)
        try:
            gradients = []
            for wrap in (lambda m: m, torch.nn.parallel.DistributedDataParallel):
                torch.manual_seed(0)
                tower = wrap(torch.nn.Linear(512, 512).to(bench.device))
                batch = [value.to(bench.device) for value in pairs(64)]
                InfoNCE()(tower(batch[0]), *batch[1:]).backward()
                gradients.append(next(tower.parameters()).grad)
            yield "gradient", difference(*gradients)
        finally:
            dist.destroy_process_group()


def fit(bench: Bench) -> Iterator[Row]:
    """``fit`` with low-rank adapters on both sides, end to end, on a simulated cohort."""
    from genebrain import tasks
    from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings, TrainerSettings
    from genebrain.sides.genome import GeneSide
    from genebrain.sides.scans import EncoderSide

    people = 400 if bench.full else 40
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = tasks.simulate(
            folder / "cohort", tier="smoke", n_subjects=people, seed=1, n_windows=2, window_bp=6000, n_frames=120,
            n_parcels=20, n_genomewide=60,
        )  # fmt: skip
        start = time.perf_counter()
        run = tasks.fit(
            cohort, run=folder / "run", genetics=GeneSide(tuning="lora"),
            brain=EncoderSide(encoder="brainlm", tuning="lora", device=bench.device.type),
            alignment=AlignmentSettings(
                start="random", train="full", score="cosine", projector=ProjectorSettings(hidden=32)
            ),
            trainer=TrainerSettings(max_epochs=2, patience=2, batch_size=20), progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        finite = np.isfinite(np.genfromtxt(run / "history.csv", delimiter=",", skip_header=1, usecols=0)).any()
        yield f"{people} people, 2 epochs", f"{seconds:.1f} s, {'finite' if finite else 'NOT FINITE'}"


PARTS: dict[str, tuple[Callable[[Bench], Iterator[Row]], float]] = {
    "parity": (parity, 60), "kernels": (kernels, 75), "lengths": (lengths, 45), "packed": (packed, 30),
    "megabase": (megabase, 60), "swift": (swift, 45), "scan": (scan, 30), "infonce": (infonce, 30), "ddp": (ddp, 20),
    "fit": (fit, 75),
}  # fmt: skip
"""Parts and their limits in seconds on a device: 470 s together."""

os.environ.setdefault("HF_HUB_OFFLINE", "1")
