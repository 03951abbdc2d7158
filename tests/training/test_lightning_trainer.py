"""The one training loop: settings are checked, a broken-off run ends like an undisturbed one, Ctrl-C arrives."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import pytorch_lightning as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from genebrain.alignment.settings import TrainerSettings
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.common.types import UserError
from genebrain.genetics.finetuning.settings import TrainingSettings
from genebrain.training import steps
from genebrain.training.settings import DeviceSettings
from genebrain.training.trainer import BEST, Watch, train_resumably

ALL = (TrainerSettings, PretrainerSettings, TrainingSettings)
CPU = DeviceSettings(accelerator="cpu", loggers=())
WATCH = Watch("validation_loss", "min", 50, "validation loss")


class Line(lightning.LightningModule):
    """A line behind dropout; ``stop`` is called at the start of every step."""

    def __init__(self, stop: Callable[[int], None] = lambda step: None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.stop = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 1)), stop

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        self.stop(self.global_step)
        loss: Tensor = (self.layers(batch[0])[:, 0] - batch[1]).square().mean()
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.log("validation_loss", (self.layers(batch[0])[:, 0] - batch[1]).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.05)


class Points(lightning.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        self.points = TensorDataset(x, x @ torch.tensor([1.0, -2.0, 0.5, 0.0]))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.points, 16)

    val_dataloader = train_dataloader


@pytest.fixture
def hears_ctrl_c():
    """Programs that run in the background are started deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_a_broken_off_run_ends_like_an_undisturbed_one(tmp_path):
    whole = Line()
    expected = train_resumably(whole, Points(), tmp_path / "a", CPU, seed=3, max_epochs=6, watch=WATCH, progress=False)

    def interrupt(step):
        if step == 14:  # within the fourth epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_resumably(
            Line(interrupt), Points(), tmp_path / "b", CPU, seed=3, max_epochs=6, watch=WATCH, progress=False
        )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "the next Ctrl-C would not be heard"
    resumed = Line()
    found = train_resumably(resumed, Points(), tmp_path / "b", CPU, seed=3, max_epochs=6, watch=WATCH, progress=False)
    assert found.history == expected.history
    assert len(found.history) == 6
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    best = min(range(6), key=lambda epoch: found.history[epoch]["validation_loss"]) + 1
    assert found.load_best(resumed) == best == expected.load_best(whole)


def test_another_seed_draws_other_dropout(tmp_path):
    ends = []
    for seed in (1, 2):
        model = Line()
        train_resumably(model, Points(), tmp_path / str(seed), CPU, seed=seed, max_epochs=1, watch=None, progress=False)
        ends.append(model.layers[1].weight.detach().clone())
        assert (tmp_path / str(seed) / BEST).is_file()
    assert not torch.equal(*ends)


@pytest.mark.parametrize("settings", ALL)
def test_misspelt_words_are_told_together(settings):
    with pytest.raises(UserError) as caught:
        settings(strategy="fdsp", precision="bf61", accelerator="gpus", devices=0, loggers=["cvs"], batch_size=0)
    name = settings.section
    for part in (
        f"{name}.strategy=fdsp: use one of auto, ddp", f"{name}.precision=bf61", f"{name}.accelerator=gpus",
        f"{name}.devices=0", f"{name}.loggers=['cvs']", "batch_size=0",
    ):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize("settings", ALL)
@pytest.mark.parametrize("options", [{"accelerator": "gpu"}, {"precision": "16-mixed"}])
def test_what_needs_a_gpu_is_refused_without_one(settings, options):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=r"no CUDA GPU|needs a GPU"):
        settings(**options).on_gpu()


def test_only_fine_tuning_is_sharded():
    assert TrainingSettings(strategy="fsdp").strategy == "fsdp"
    with pytest.raises(UserError, match=r"trainer.strategy=fsdp: use one of auto, ddp$"):
        TrainerSettings(strategy="fsdp")
    with pytest.raises(UserError, match=r"training.strategy=fsdp needs GPUs"):
        TrainingSettings(strategy="fsdp", accelerator="cpu")


def test_more_devices_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert TrainerSettings(devices=2).on_gpu()
    assert not TrainerSettings(accelerator="cpu", devices=8).on_gpu()
    with pytest.raises(UserError, match=r"devices=8.*shows 2 GPUs.*devices=auto"):
        TrainerSettings(devices=8).on_gpu()


def test_a_bar_of_a_training_that_ended_early_is_at_its_end(monkeypatch, capsys):
    monkeypatch.setattr(steps, "no_bar", lambda: False)
    bar, trainer = steps.EpochBar("loss", "loss"), SimpleNamespace(max_epochs=9, current_epoch=0, callback_metrics={})
    for trainer.should_stop, words in ((True, "100%|"), (False, "11%|")):
        bar.on_train_start(trainer, None)
        bar.on_train_epoch_end(trainer, None)
        bar.on_train_end(trainer, None)
        assert words in capsys.readouterr().err.split("\r")[-1]
