"""Names of methods that the map treats apart."""

CLOSED = "closed form"
WITHOUT_GRADIENT = (
    CLOSED,
    "closed form, unpaired scans",
    "spectral optimum",
    "embeddings",
    "embeddings, all alleles",
    "networks, random",
    "networks, 8 clusters",
    "networks, 16 clusters",
    "filters, random",
    "filters, 32 random",
)
APPROVED = (
    "residual",
    "residual, mixup",
    "embeddings, adapters",
    "networks, contrast, tuned",
    "filters, contrast, tuned",
)
"""Methods that are what they started from unless validation approves."""
UNPAIRED = ", unpaired"
"""End of the name of a mechanism whose cohort has people with one side alone."""
