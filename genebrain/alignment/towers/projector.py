"""The last step of both towers: features of one side to the shared space.

Both sides have the same form: ``Linear(in, 1024) - GELU - Dropout(0.1) - Linear(1024, 512) - LayerNorm(512)``, one
linear map, or a body of the user's own (:data:`genebrain.PROJECTORS`). Standardising the input and giving the output
unit length are left to the tower.
"""

from __future__ import annotations

from torch import Tensor, nn

from genebrain.alignment.towers.registry import PROJECTORS


@PROJECTORS.register("mlp")
def mlp(in_features: int, hidden: int, out_features: int, dropout: float) -> nn.Module:
    """``Linear - GELU - Dropout - Linear - LayerNorm``."""
    return nn.Sequential(
        nn.Linear(in_features, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, out_features),
        nn.LayerNorm(out_features),
    )


@PROJECTORS.register("linear")
def linear(in_features: int, hidden: int, out_features: int, dropout: float) -> nn.Module:
    """One affine map."""
    return nn.Linear(in_features, out_features)


class Projector(nn.Module):
    """Features of one side to the shared space.

    Parameters
    ----------
    in_features, hidden, out_features : int
        Widths; ``hidden`` is not used by the linear kind.
    dropout : float
        Probability of dropping a hidden unit in training (multilayer kind).
    kind : str
        Of :data:`genebrain.PROJECTORS`: ``mlp``, ``linear``, or one of a plugin.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 1024,
        out_features: int = 512,
        dropout: float = 0.1,
        kind: str = "mlp",
    ) -> None:
        super().__init__()
        if min(in_features, hidden, out_features) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"widths must be at least 1 and dropout in [0, 1): in_features={in_features}, "
                f"hidden={hidden}, out_features={out_features}, dropout={dropout}"
            )
        self.in_features, self.out_features = in_features, out_features
        self.kind = kind
        self.project = PROJECTORS[kind](in_features, hidden, out_features, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Project.

        Parameters
        ----------
        x : Tensor
            ``[..., in_features]``.

        Returns
        -------
        Tensor
            ``[..., out_features]``.

        Raises
        ------
        ValueError
            If the last dimension is not ``in_features``, or that of the result not ``out_features``.
        """
        if x.shape[-1] != self.in_features:
            raise ValueError(f"projector takes {self.in_features} features, got {x.shape[-1]}")
        projected: Tensor = self.project(x)
        if projected.shape != (*x.shape[:-1], self.out_features):
            raise ValueError(
                f"projector {self.kind}: [..., {self.in_features}] must become [..., {self.out_features}], got "
                f"{list(projected.shape)} from {list(x.shape)}"
            )
        return projected
