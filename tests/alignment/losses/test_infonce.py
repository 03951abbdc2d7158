"""InfoNCE against the dense formula, and the laws that it must obey."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genebrain.alignment.losses.infonce import InfoNCE, _TiledLogSumExp, dense_infonce
from genebrain.alignment.losses.relations import Relations
from tests.alignment.losses.batches import random_batch


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=16),
    st.integers(1, 18),
    st.sampled_from(["ignore", "negative"]),
    st.integers(0, 10**6),
)
def test_equals_the_dense_formula(ids, tile, relatives, seed):
    # Genomes 0..5 in families 0..3 without any rule: also twins that were raised apart, so to say.
    genome, family = torch.tensor(ids).T
    inputs = random_batch(len(ids), seed=seed)
    expected = dense_infonce(*inputs, genome, family, relatives)
    loss = InfoNCE(relatives, tile)(*inputs, genome, family)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    for got, want in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def test_gradcheck():
    genome = torch.tensor([0, 0, 1, 2, 3, 3, 4])
    family = torch.tensor([0, 0, 0, 1, 2, 2, 2])
    assert torch.autograd.gradcheck(lambda *inputs: InfoNCE(tile=3)(*inputs, genome, family), random_batch(7))


def test_a_collapsed_model_has_the_log_of_the_kept_number():
    # Ten people; 8 and 9 are siblings, so each of the two keeps 9 of the 10 columns.
    genome, family = torch.arange(10), torch.tensor([*range(9), 8])
    constant = torch.ones(10, 4)
    kept = torch.tensor([10.0] * 8 + [9.0] * 2)
    loss = InfoNCE()(constant, constant, torch.zeros(1), genome, family)
    torch.testing.assert_close(loss, kept.log().mean())


def test_a_perfect_model_with_repeat_scans_is_at_rest():
    # Four people, two scans each, every person on its own axis: nothing is left to improve.
    genome = torch.arange(4).repeat_interleave(2)
    x = torch.eye(4, dtype=torch.float64)[genome].requires_grad_()
    loss = InfoNCE()(x, x.detach(), torch.tensor([math.log(60.0)], dtype=torch.float64), genome, genome)
    (gradient,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(loss.detach(), torch.tensor(math.log(2.0), dtype=torch.float64))
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("relatives", ["ignore", "negative"])
def test_same_genome_attracts_strangers_repel_and_relatives_do_neither(relatives):
    # With unit axes on one side and zeros on the other, the gradient is that of the score matrix itself.
    # Rows 0 and 1 are two scans of one person, 2 is the sibling, 3 to 6 are strangers.
    genome, family = torch.tensor([0, 0, 1, 2, 3, 4, 5]), torch.tensor([0, 0, 0, 2, 3, 4, 5])
    x = torch.zeros(7, 7, requires_grad=True)
    InfoNCE(relatives)(x, torch.eye(7), torch.zeros(1), genome, family).backward()
    same = genome[:, None] == genome
    sibling = (family[:, None] == family) & ~same
    assert (x.grad[same] < 0).all()
    assert (x.grad[~same & ~sibling] > 0).all()
    assert (x.grad[sibling] == 0).all() if relatives == "ignore" else (x.grad[sibling] > 0).all()


def test_siblings_alone_are_nothing_to_each_other():
    x, y, log_scale = random_batch(3)
    ids = (torch.arange(3), torch.zeros(3, dtype=torch.int64))
    loss = InfoNCE("ignore")(x, y, log_scale, *ids)
    assert abs(loss.item()) < 1e-12
    assert all(g.abs().max() < 1e-12 for g in torch.autograd.grad(loss, (x, y, log_scale)))
    assert InfoNCE("negative")(x, y, log_scale, *ids).item() > 0


def test_a_strip_whose_rows_are_all_relatives_of_a_column_has_no_nan():
    # Across processes a rank may hold none but relatives of another rank's person: that column's partial
    # sum is 0.
    x, y, log_scale = random_batch(3)
    relations = Relations(torch.tensor([0, 1]), torch.tensor([5, 5]), torch.tensor([0, 2, 3]), torch.tensor([5, 5, 6]))
    row, column = _TiledLogSumExp.apply(x[:2], y, log_scale.exp(), relations, 1)
    assert column.tolist()[1] == -math.inf
    gradients = torch.autograd.grad((row, column), (x, y), (torch.ones(2).double(), torch.tensor([1.0, 0, 1]).double()))
    assert all(g.isfinite().all() for g in gradients)
    assert gradients[1][1].abs().max() == 0


@pytest.mark.parametrize("log_scale", [math.log(100), 10.0])
def test_large_scores_stay_finite(log_scale):
    x, y, _ = (t.detach().float() for t in random_batch(9))
    x.requires_grad_()
    loss = InfoNCE(tile=4)(x, y, torch.tensor([log_scale]), torch.arange(9), torch.arange(9))
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()


def test_scores_are_float32_under_autocast():
    x, y, log_scale = (t.detach().float().requires_grad_() for t in random_batch(9, d=64))
    ids = torch.arange(9)
    plain = InfoNCE()(x, y, log_scale, ids, ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = InfoNCE()(x, y, log_scale, ids, ids)
        gradients = torch.autograd.grad(cast, (x, y, log_scale))
    assert cast.dtype == torch.float32
    assert cast.item() == plain.item()
    assert all(map(torch.equal, gradients, torch.autograd.grad(plain, (x, y, log_scale))))
    half = InfoNCE()(x.bfloat16(), y.bfloat16(), log_scale, ids, ids)
    assert half.dtype == torch.float32


def test_nothing_of_the_size_of_the_score_matrix_is_saved():
    n, saved = 512, []
    x, y, log_scale = (t.detach().float().requires_grad_() for t in random_batch(n, d=4))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.nbytes) or t, lambda t: t):
        InfoNCE(tile=64)(x, y, log_scale, torch.arange(n), torch.arange(n)).backward()
    assert saved
    assert sum(saved) < n * n * 4 / 8


def test_wrong_input_is_named_all_at_once():
    loss, ids = InfoNCE(), torch.arange(3)
    with pytest.raises(ValueError, match=r"gene \[3, 2\] and brain \[4, 2\].*log_scale.*family_id must have.*integers"):
        loss(torch.ones(3, 2), torch.ones(4, 2), torch.tensor(0.0), ids, torch.ones(5))
    with pytest.raises(ValueError, match="0 rows"):
        loss(torch.ones(0, 2), torch.ones(0, 2), torch.zeros(1), ids[:0], ids[:0])
    with pytest.raises(ValueError, match="'ignored' is unknown; choose one of ignore, negative"):
        InfoNCE("ignored")
    with pytest.raises(ValueError, match="at least 1 row, not 0"):
        InfoNCE(tile=0)


@pytest.mark.slow
def test_eight_thousand_people_within_250_mib():
    # In a process of its own, since a peak never comes down again; from the kernel's status file, since the
    # peak that getrusage tells a child starts at that of its parent. The last line shows that the meter
    # moves.
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc (Linux)")
    code = (
        "import torch\n"
        "from genebrain.alignment.losses.infonce import InfoNCE\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024\n"
        "torch.manual_seed(0)\n"
        "x, y = (torch.randn(8192, 512, requires_grad=True) for _ in range(2))\n"
        "scale, ids, loss = torch.zeros(1, requires_grad=True), torch.arange(8192), InfoNCE()\n"
        "loss(x[:2], y[:2], scale, ids[:2], ids[:2]).backward()\n"
        "x.grad = y.grad = None\n"
        "before = peak()\n"
        "loss(x, y, scale, ids, ids).backward()\n"
        "print(peak() - before)\n"
        "more = torch.ones(2**28 // 4 * 2)\n"
        "print(peak() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    growth, meter = map(float, run.stdout.split())
    assert growth < 250
    assert meter > 500
