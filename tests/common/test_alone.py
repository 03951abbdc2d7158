"""One process at a time, links, and what killed processes leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genebrain.common import leftovers
from genebrain.common.alone import alone_in, refuse_links, waiting_for
from genebrain.common.files import replacing
from genebrain.common.types import UserError

HOLD = """
import sys
from pathlib import Path
from genebrain.common.alone import alone_in
with alone_in(Path(sys.argv[1]), "run folder"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that works in the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_told_who_works_and_a_killed_one_holds_nothing(holder, tmp_path):
    told = f"another process works in this run folder .*process {holder.pid} on .*wait for it, stop it"
    with pytest.raises(UserError, match=told), alone_in(tmp_path, "run folder"):
        pass
    holder.kill()
    holder.wait()
    with alone_in(tmp_path, "run folder"):
        assert (tmp_path / ".working").read_text().startswith(f"process {os.getpid()} on ")
    assert not (tmp_path / ".working").exists()


def test_other_ranks_of_one_training_are_let_in(holder, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with alone_in(tmp_path):
        pass


def test_links_are_refused_wherever_they_are(tmp_path):
    folder, victim = tmp_path / "run", tmp_path / "victim"
    (folder / "a" / "b").mkdir(parents=True)
    victim.write_text("precious")
    refuse_links(folder)
    (folder / "a" / "b" / "x.json").symlink_to(victim)
    with pytest.raises(UserError, match=r"contains links \(a/b/x\.json\)"):
        refuse_links(folder)
    (folder / "a" / "b" / "x.json").unlink()
    (folder / ".lock").symlink_to(victim)
    with pytest.raises(UserError, match=r"\.lock is a link"), waiting_for(folder / ".lock", ""):
        pass
    (folder / ".lock").unlink()
    (tmp_path / "named").symlink_to(folder)
    refuse_links(tmp_path / "named")  # whoever names a link means it
    assert victim.read_text() == "precious"


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    machine = leftovers.writer().split("-")[0]
    names = {
        "dead": f".a.json.{machine}-{dead.pid}-01234567.tmp",
        "living": f".a.json.{machine}-{os.getppid()}-01234567.tmp",
        "elsewhere": ".a.json.ffffffff-1-01234567.tmp",
        "elsewhere, old": ".b.json.ffffffff-1-01234567.tmp",
        "older version, old": ".a.json.01234567.tmp",
        "of the user": "notes.tmp",
    }
    (tmp_path / "below").mkdir()
    for name in names.values():
        (tmp_path / "below" / name).touch()
    long_ago = time.time() - 30 * 24 * 3600
    for which in ("elsewhere, old", "older version, old", "of the user"):
        os.utime(tmp_path / "below" / names[which], (long_ago, long_ago))
    for number in (dead.pid, os.getppid()):
        (tmp_path / f"c.partial-{machine}-{number}-abcdefgh").mkdir()
    with replacing(tmp_path / "below" / "mine") as mine:
        assert leftovers.sweep(tmp_path) == 3
        assert leftovers.sweep_folders(tmp_path / "c") == 1
        assert mine.exists()
    stays = {names["living"], names["elsewhere"], names["of the user"], "mine"}
    assert {p.name for p in (tmp_path / "below").iterdir()} == stays
    assert [p.name for p in tmp_path.glob("c.partial-*")] == [f"c.partial-{machine}-{os.getppid()}-abcdefgh"]


def test_a_name_of_any_length_can_be_replaced(tmp_path):
    with replacing(tmp_path / ("a" * 200)) as partial:
        Path(partial).write_text("x")
    assert (tmp_path / ("a" * 200)).read_text() == "x"


def test_what_killed_writers_of_an_output_left_is_swept(tmp_path):
    """Beside a file under its name, and in a folder; what is of others, or of a living writer, stays."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    machine = leftovers.writer().partition("-")[0]
    (tmp_path / "out").mkdir()
    gone = [".plan[1].json.{}-01234567.tmp", "out/.config.json.{}-01234567.tmp"]
    for name in gone:
        (tmp_path / name.format(f"{machine}-{dead.pid}")).touch()
    stays = [tmp_path / f".other.json.{machine}-{dead.pid}-01234567.tmp", tmp_path / "out" / "notes.tmp"]
    stays.append(tmp_path / "out" / f".config.json.{machine}-{os.getppid()}-01234567.tmp")
    for path in stays:
        path.touch()
    assert leftovers.sweep_output(tmp_path / "plan[1].json") == 1
    assert leftovers.sweep_output(tmp_path / "out") == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(stays)
