"""Genomes eight alleles to a byte: the same alleles, and far less memory than a table of them."""

import tracemalloc

import numpy as np
import pytest

from genebrain.simulation.genome.genomes import simulate_regions
from genebrain.simulation.genome.packed import PackedAlleles
from genebrain.simulation.traits import choose_causal


@pytest.mark.parametrize("n_people", [1, 3, 4, 9])
def test_alleles_come_back_whole_by_site_and_by_list(n_people: int) -> None:
    """Numbers of people that fill no byte, no site at all, and every way of asking."""
    haplotypes = np.random.default_rng(n_people).integers(0, 2, (6, n_people, 2)).astype(np.int8)
    packed = PackedAlleles.of(haplotypes)
    assert packed.shape == haplotypes.shape
    assert len(packed) == 6
    assert packed[:].dtype == np.int8
    np.testing.assert_array_equal(packed[:], haplotypes)
    np.testing.assert_array_equal(packed[4], haplotypes[4])
    np.testing.assert_array_equal(packed[np.array([5, 0])], haplotypes[[5, 0]])
    np.testing.assert_array_equal(packed.dosages(), haplotypes.sum(axis=2))
    assert PackedAlleles.of(haplotypes[:0])[:].shape == (0, n_people, 2)


def test_a_region_of_many_people_takes_no_table_of_four_bytes_an_allele() -> None:
    """What is held while a region is drawn stays below a byte per allele."""
    people, rng = np.zeros(2_000, np.int64), np.random.default_rng(0)
    (_, *_) = simulate_regions(people[:50], n_windows=1, window_bp=3_000, n_contigs=1, fst=0.05, rng=rng)  # loads
    tracemalloc.start()
    (region,) = simulate_regions(people, n_windows=1, window_bp=20_000, n_contigs=1, fst=0.05, rng=rng)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(region.haplotypes) > 200
    assert peak < np.prod(region.haplotypes.shape)


def test_causal_variants_are_chosen_without_a_table_of_rare_ones() -> None:
    """Ten thousand rare variants beside a hundred frequent ones: memory of the frequent ones only."""
    rng = np.random.default_rng(1)
    frequent = rng.binomial(2, 0.3, (100, 500)).astype(np.int8)
    dosage = np.concatenate([np.eye(500, dtype=np.int8)[rng.integers(0, 500, 10_000)], frequent])
    tracemalloc.start()
    chosen = choose_causal(iter([dosage]), [np.ones(len(dosage), bool)], 16, rng)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(chosen) == 16
    assert all(site >= 10_000 for _, site in chosen)
    assert peak < dosage.size
