"""What contrastive training takes for one row: a person, or a scan. Knows the names of the choices only."""

from __future__ import annotations

POSITIVES = ("people", "scans")


def positives_problems(positives: str, tuning: str = "frozen", aggregate: str = "mean") -> list[str]:
    """What is wrong with ``brain.positives``, in words; nothing where it can be done."""
    if positives not in POSITIVES:
        return [f"brain.positives={positives} is none of {', '.join(POSITIVES)}"]
    trained = [f"brain.tuning={tuning}"] if tuning != "frozen" else []
    trained += ["brain.aggregate=attention"] if aggregate == "attention" else []
    if positives == "scans" and trained:
        return [
            f"brain.positives=scans with {' and '.join(trained)}: what is trained before the brain tower reads windows "
            "of people, not single scans; use brain.tuning=frozen with brain.aggregate=mean or motion, or "
            "brain.positives=people"
        ]
    return []
