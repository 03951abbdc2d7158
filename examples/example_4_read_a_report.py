"""
Read a report
=============

Fit, judge, and then ask of every number: beside what does it stand? The same questions hold for ``report.html``.
"""

# %%
# 200 simulated people; a third is held back for the test, families whole.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from genebrain import tasks

folder = Path(tempfile.mkdtemp())
cohort = tasks.simulate(folder / "cohort", n_subjects=200, seed=1)
run = tasks.fit(cohort, run=folder / "run", progress=False)
metrics = tasks.evaluate(run, comparisons=["ridge_cca", "confound_only", "dosage"], progress=False)

# %%
# **First the verdict**, one sentence that follows from the numbers below.

print(metrics["verdict"])

# %%
# **Is it above chance?** A genome is ranked against the brains of a gallery. Recall@1 is the share of people
# whose own brain comes first; by guessing it is one in the size of the gallery. The permutation test re-deals
# the pairs.

mean = metrics["retrieval"]["mean"]
low, high = mean["recall@1"]["ci"]
print(
    f"recall@1 {mean['recall@1']['value']:.2f} (95 % {low:.2f} to {high:.2f}) in galleries of {metrics['gallery_size']}"
)
print(f"chance   {metrics['chance']['recall@1']:.3f}")
permutation = metrics["permutation"]
print(f"permutation p {permutation['p_free']:.3f}, within site and ancestry {permutation['p_stratified']:.3f}")

# %%
# **Could something else explain it?** ``confound_only`` retrieves by age, sex, site, ancestry and motion alone.
# If it reached the model, the model might have learned the scanner. ``within_stratum`` lets only people of the
# same site and ancestry compete: there the site cannot help.

baselines = metrics["baselines"]
print(f"confounds alone {baselines['confound_only']['recall@1']['value']:.2f}")
within = metrics["within_stratum"]
if within:
    value = within["mean"]["recall@1"]["value"]
    print(f"within strata of {', '.join(within['strata'])}: {value:.2f} in galleries of {within['gallery_size']}")

# %%
# **What would simpler or better readers reach?** ``ridge_cca`` is an old linear method on the same features.
# ``dosage`` reads the variants themselves instead of a language model's vectors. The ceiling is known because
# the cohort is simulated: nobody could do better with these scans.

rows = {
    "model": mean["recall@1"],
    "ridge CCA": baselines["ridge_cca"]["recall@1"],
    "dosage": baselines["dosage"]["recall@1"],
    "confounds alone": baselines["confound_only"]["recall@1"],
}
figure, axes = plt.subplots(figsize=(7, 2.4))
for place, one in enumerate(rows.values()):
    axes.plot(one["ci"], [place, place], color="tab:blue", linewidth=2)
    axes.plot(one["value"], place, "o", color="tab:blue")
axes.axvline(metrics["chance"]["recall@1"], color="grey", linestyle=":", label="chance")
axes.axvline(metrics["ceiling"]["recall@1"], color="tab:green", linestyle="--", label="ceiling")
axes.set_yticks(range(len(rows)), list(rows))
axes.set_ylim(len(rows) - 0.5, -0.5)
axes.set(xlabel="recall@1 on test people, with 95 % interval", xlim=(0, 1))
axes.legend(loc="lower right")
figure.tight_layout()

# %%
# ``tasks.report(run)`` writes all of this, with more figures and a glossary, as one page.

print(tasks.report(run).name)
