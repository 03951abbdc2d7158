"""Checkpoints: whole or not there, compared when read; training goes on from the last whole epoch."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from genebrain.common.files import StorageError
from genebrain.common.types import UserError
from genebrain.training import checkpoint_files, trainer
from genebrain.training.checkpoint_files import WholeCheckpoints, read_training
from genebrain.training.trainer import BEST, LAST, Watch, train_resumably
from tests.training.test_lightning_trainer import CPU, Line, Points

SHORT = Watch("validation_loss", "max", 3, "validation loss")  # the loss falls: the first epoch stays the best


def train(module, folder, epochs, watch=SHORT):
    return train_resumably(module, Points(), folder, CPU, seed=3, max_epochs=epochs, watch=watch, progress=False)


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN", 0.0)


class Killed(Exception):  # noqa: N818 - stands for SIGKILL: nothing after it runs
    pass


def stop_at(step):
    def stop(now):
        if now == step:
            raise Killed

    return stop


def test_training_goes_on_from_the_last_epoch_and_not_from_the_best(tmp_path):
    whole, seen = Line(), []
    expected = train(whole, tmp_path / "a", 20)
    assert len(expected.history) == 4
    with pytest.raises(Killed):
        train(Line(stop_at(10)), tmp_path / "b", 20)  # in the third epoch of four steps
    assert read_training(tmp_path / "b" / LAST)["epoch"] == 1
    assert read_training(tmp_path / "b" / BEST)["epoch"] == 0
    resumed = Line(seen.append)
    found = train(resumed, tmp_path / "b", 20)
    assert seen[0] == 8, "two epochs of four steps were finished"
    assert found.history == expected.history
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert found.load_best(resumed) == expected.load_best(whole) == 1


def test_epochs_that_follow_each_other_at_once_are_not_all_written(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN", 1000.0)
    whole, seen = Line(), []
    expected = train(whole, tmp_path / "a", 20)
    assert read_training(tmp_path / "a" / LAST)["epoch"] == 3, "the last one is always written"
    with pytest.raises(Killed):
        train(Line(stop_at(10)), tmp_path / "b", 20)
    assert read_training(tmp_path / "b" / LAST)["epoch"] == 0
    resumed = Line(seen.append)
    assert train(resumed, tmp_path / "b", 20).history == expected.history
    assert seen[0] == 4, "one epoch of four steps was written"
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    seen.clear()
    assert train(Line(seen.append), tmp_path / "b", 20).history == expected.history
    assert seen == []


def test_a_training_that_was_over_is_not_trained_again(tmp_path):
    expected, seen = train(Line(), tmp_path, 20).history, []
    assert train(Line(seen.append), tmp_path, 20).history == expected
    assert seen == []


def test_a_folder_that_moved_goes_on_and_names_no_place(tmp_path):
    expected = train(Line(), tmp_path / "whole", 20).history
    with pytest.raises(Killed):
        train(Line(stop_at(10)), tmp_path / "here", 20)
    assert b"here" not in (tmp_path / "here" / LAST).read_bytes()
    (tmp_path / "here").rename(tmp_path / "there")
    assert train(Line(), tmp_path / "there", 20).history == expected


@pytest.mark.parametrize("way", ["cut", "one bit of a weight", "empty", "text"])
def test_damage_is_named_with_what_to_do(tmp_path, way):
    train(Line(), tmp_path / "t", 2)
    path = tmp_path / "t" / LAST
    content = bytearray(path.read_bytes())
    if way == "one bit of a weight":
        weight = read_training(path)["state_dict"]["layers.1.weight"].numpy().tobytes()
        content[content.find(weight) + 2] ^= 1
    else:
        content = {"cut": content[: len(content) // 2], "empty": b"", "text": b"epoch 3"}[way]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.ckpt is damaged .*: delete the folder .* \(this training starts anew"):
        train(Line(), tmp_path / "t", 2)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    writer, path = WholeCheckpoints(), tmp_path / LAST
    writer.save_checkpoint({"epoch": 1, "weights": torch.ones(3)}, path)
    assert path.stat().st_mode & 0o077 == 0

    def full(content, place):
        place.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint_files.torch, "save", full)
    with pytest.raises(StorageError, match="No space left"):
        writer.save_checkpoint({"epoch": 2, "weights": torch.zeros(3)}, path)
    assert writer.load_checkpoint(path)["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [LAST]
