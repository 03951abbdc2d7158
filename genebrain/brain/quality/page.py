"""One self-contained HTML page about the scans of a cohort: what is stored, what is not and why, what to look at.

Reads a store, writes one page (mode 0600: carpets show single scans) without ids, network or scripts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.brain.quality.figures import LARGE_FD, SHORT_MINUTES, figures
from genebrain.brain.quality.numbers import ScanQuality, scan_quality
from genebrain.common.files import write_private
from genebrain.evaluation.report.html import data_url, png, template

MANY_LOST = 0.5
"""Share of a recording below which what is left of it is worth a sentence."""


def write_scan_report(
    store: Path | str,
    out: Path | str,
    *,
    table: pd.DataFrame | None = None,
    atlas: Path | str | None = None,
    n_carpets: int = 3,
) -> Path:
    """Write the page about a store, whole or not at all.

    Parameters
    ----------
    store, table, atlas, n_carpets
        See :func:`~genebrain.brain.quality.numbers.scan_quality`.
    out
        Path of the page; its folder is made.

    Returns
    -------
    Path of the page.
    """
    page = render(scan_quality(store, table, atlas, n_carpets))
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_private(out, page.encode())
    return out


def render(quality: ScanQuality) -> str:
    """The page as text."""
    return template(Path(__file__).parent).render(
        quality=quality,
        cards=_cards(quality),
        points=_points(quality),
        steps=_steps(quality.scans.tr),
        settings=_settings(quality.settings),
        figures={name: data_url(png(figure)) for name, figure in figures(quality).items()},
    )


def _cards(quality: ScanQuality) -> list[tuple[str, str]]:
    """The numbers at the top."""
    scans = quality.scans
    cards = [(f"{len(scans):,}", f"of {quality.n_listed:,} scans can be used")]
    if quality.n_people is not None:
        cards.append((f"{quality.n_people:,}", "people in the scan table"))
    if scans.tr.notna().any():
        hours = (scans.n_frames * scans.tr).sum() / 3600
        cards.append((f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min", "of recording"))
    if scans.mean_fd.notna().any():
        cards.append((f"{scans.mean_fd.median():.2f} mm", "median of the mean framewise displacement"))
    if quality.kind == "parcels":
        cards.append((f"{quality.shape[0]}", f"parcels, {quality.coverage.mean():.1%} of them usable"))
    else:
        cards.append((" x ".join(map(str, quality.shape)), "voxels per frame"))
    return cards


def _points(quality: ScanQuality) -> list[str]:
    """What to look at first, in sentences."""
    scans, points = quality.scans, []
    if n := sum(quality.failed.values()):
        points.append(f"{_scans(n)} could not be used: see the reasons below.")
    if n := sum(quality.short.values()):
        points.append(f"{_scans(n)} left out as too short.")
    if scans.mean_fd.notna().any():
        if n := int((scans.mean_fd > LARGE_FD).sum()):
            limit = _fd_threshold(quality.settings)
            what = "candidates to exclude"
            if limit is not None:
                what += f" (of the recordings; frames above {limit:g} mm are left out here)"
            points.append(f"{_scans(n)} with a mean displacement above {LARGE_FD} mm: {what}.")
    else:
        points.append("Motion is unknown: no scan has a confounds table with framewise displacement.")
    if n := int((scans.n_frames < MANY_LOST * scans.recorded).sum()):
        points.append(f"{_scans(n)} lost more than {1 - MANY_LOST:.0%} of the recorded frames.")
    if n := int((scans.n_frames * scans.tr / 60 < SHORT_MINUTES).sum()):
        points.append(f"{_scans(n)} shorter than {SHORT_MINUTES:g} minutes: connectivity from so little is unreliable.")
    if (n := scans.tr.nunique(dropna=False)) > 1:
        points.append(f"{n} different time steps: frames of different scans are not the same length.")
    elif scans.tr.isna().all():
        points.append("Nobody states the time step.")
    if quality.kind == "parcels" and (n := int((quality.coverage < 0.95).sum())):
        points.append(f"{n} of {quality.shape[0]} parcels are missing in more than 5% of the scans.")
    points += [f"{_scans(n)}: {note}." for note, n in quality.notes.items()]
    return points


def _fd_threshold(settings: dict[str, Any]) -> float | None:
    """Displacement above which frames were left out: of parcels a part of the cleaning, of volumes alone."""
    limit = settings.get("fd_threshold") or (settings.get("cleaning") or {}).get("fd_threshold")
    return None if limit is None else float(limit)


def _scans(n: int) -> str:
    return f"{n:,} scan{'' if n == 1 else 's'}"


def _steps(tr: pd.Series[Any]) -> list[tuple[str, int]]:
    counted = tr.round(6).value_counts(dropna=False)
    steps = counted.index.to_numpy(float)
    return [("unknown" if np.isnan(step) else f"{step:g} s", int(n)) for step, n in zip(steps, counted, strict=True)]


def _settings(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """How the scans were read, flat and readable."""
    rows = []
    for key, value in settings.items():
        if key == "atlas" and isinstance(value, dict):
            value = f"{value['name']} (sha256 {value['sha256'][:12]}...)"
        elif isinstance(value, dict):
            value = ", ".join(f"{k}={v}" for k, v in value.items() if k != "order" and v not in (None, False, [], {}))
        elif isinstance(value, list):
            value = (" x " if key == "box" else ", ").join(map(str, value))
        rows.append((key.replace("_", " "), str(value) if value not in (None, "") else "none"))
    return rows
