"""The model: two towers, a contrastive loss, and the closed form that starts them. Tensors in, vectors out.

Two towers by hand, on random tensors:

>>> import torch
>>> from genebrain.alignment.losses.infonce import InfoNCE
>>> from genebrain.alignment.towers.projector import Projector
>>> from genebrain.alignment.towers.standardiser import Standardiser
>>> from genebrain.alignment.towers.towers import ProjectorTower
>>> _ = torch.manual_seed(0)
>>> genes, brains = torch.randn(32, 100), torch.randn(32, 60)                     # [people, features] of each side
>>> gene = ProjectorTower(Standardiser(100).fit_(genes), Projector(100, 64, 16))  # -> [people, 16], unit length
>>> brain = ProjectorTower(Standardiser(60).fit_(brains), Projector(60, 64, 16))
>>> loss, log_scale, person = InfoNCE(), torch.tensor([2.66]), torch.arange(32)   # everybody has a family of their own
>>> step = torch.optim.AdamW([*gene.parameters(), *brain.parameters()], lr=3e-3)
>>> for _ in range(60):
...     value = loss(gene(genes), brain(brains), log_scale, person, person)
...     step.zero_grad(); value.backward(); step.step()
>>> matched = (gene(genes) @ brain(brains).T).argmax(dim=1) == person
>>> bool(matched.float().mean() > 0.9)  # each genome finds its own brain: training people, learned by heart
True

One training step is three files: ``module.py`` (forward, loss, log), ``losses/infonce.py`` (the formula, dense and
tiled) and ``towers/`` (what a tower is). ``closed_form/`` is the start: regression from gene columns to brain latents.
"""
