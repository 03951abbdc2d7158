"""Base of losses over all pairs of a global batch: local rows of one process against the scans of all of them."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from genebrain.alignment.losses.relations import Relations, check_batch, check_relatives
from genebrain.training.collectives import check_equal_batch, gather, gather_with_gradient


class TiledLoss(nn.Module):
    """Relation-aware loss, in tiles of the score matrix, exact on any number of processes.

    Parameters
    ----------
    relatives : {"ignore", "negative"}
        What people of the same family but of different genomes are to each other.
    tile : int
        Rows of the score matrix that are held at a time; memory is about three times ``tile x global batch``
        numbers. It changes neither the value nor the gradient.
    """

    def __init__(self, relatives: str = "ignore", tile: int = 256) -> None:
        super().__init__()
        if tile < 1:
            raise ValueError(f"tile must be at least 1 row, not {tile}")
        self.relatives = check_relatives(relatives)
        self.tile = tile

    def forward(self, gene: Tensor, brain: Tensor, log_scale: Tensor, genome_id: Tensor, family_id: Tensor) -> Tensor:
        """Loss of this process's rows; its mean over processes is the loss of the global batch.

        Parameters
        ----------
        gene, brain : Tensor
            Tower vectors, ``[batch, features]`` each; row i of both is one (genome, scan) pair. The batch
            must be equally long on every process.
        log_scale : Tensor
            ``[1]``, natural logarithm of the factor on the dot products (the inverse temperature).
        genome_id, family_id : Tensor
            Integer ids, ``[batch]`` each, meaning the same on every process.

        Returns
        -------
        Tensor
            Scalar. Gradients are exact under the mean over processes that distributed data parallel takes.

        Raises
        ------
        ValueError
            If shapes do not fit, ids are not integers, or processes bring different numbers of rows.
        """
        check_batch(gene, brain, log_scale, genome_id, family_id)
        check_equal_batch(gene.shape[0], gene.device)
        with torch.autocast(gene.device.type, enabled=False):
            dtype = torch.promote_types(gene.dtype, torch.float32)
            # Scans of all processes; their gradient goes back to the process that has them.
            x, y, scale = gene.to(dtype), gather_with_gradient(brain.to(dtype)), log_scale.to(dtype).exp()
            relations = Relations(genome_id, family_id, gather(genome_id), gather(family_id), self.relatives)
            return self.of_pairs(x, y, scale, relations)

    @abstractmethod
    def of_pairs(self, x: Tensor, y: Tensor, scale: Tensor, relations: Relations) -> Tensor:
        """Loss of the scores ``scale * x @ y.T``: ``x`` local genomes, ``y`` scans of all processes."""

    def extra_repr(self) -> str:
        """Options, for printing the module."""
        return f"relatives={self.relatives!r}, tile={self.tile}"
