"""4D NIfTI images one volume at a time, from disk or through gzip, without holding the scan in memory.

Volumes come as the integers or floats that are stored, flat in Fortran order; the header's slope and intercept are
handed over to be applied to results. What is not a readable 4D scan is refused with the reason.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from genebrain.brain.images.cifti_files import WAYS_OUT
from genebrain.brain.images.image_files import load_image
from genebrain.common.types import UserError


@dataclass(frozen=True)
class ImageStream:
    """An opened 4D image: what the header says, and :meth:`volumes` to read it once from front to back."""

    path: Path
    header: Any
    shape: tuple[int, int, int]
    n_frames: int
    affine: NDArray[np.float64]
    offset: int
    slope: float
    inter: float

    def volumes(self) -> Iterator[NDArray[Any]]:
        """Stored values of one volume after the other, flat [X*Y*Z] in Fortran order, native byte order.

        Raises
        ------
        UserError
            The data end early or are damaged. A gzip file is read to its end, so that its checksum counts.
        """
        dtype = self.header.get_data_dtype()
        size = int(np.prod(self.shape)) * dtype.itemsize
        done = 0
        try:
            with ImageOpener(str(self.path)) as stream:
                stream.seek(self.offset)
                for done in range(self.n_frames):  # noqa: B007
                    raw = stream.read(size)
                    if len(raw) != size:
                        raise EOFError("file is too small")
                    yield np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="), copy=False)
                stream.read(1)
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(
                f"the image data cannot be read beyond frame {done} of {self.n_frames}: {error}; "
                "the file is cut or damaged, copy it again"
            ) from error


def open_image(path: Path | str) -> ImageStream:
    """Open a single-file NIfTI scan and check that it is one: four axes, real numbers, an orientation.

    Raises
    ------
    UserError
        Not an image, not 4D (a fifth axis of length 1 is dropped), complex or colour values, no affine.
    """
    path = Path(path)
    image = load_image(path)
    if isinstance(image, nib.Cifti2Image):
        raise UserError(f"a CIFTI file has grayordinates or parcels, no volumes; {WAYS_OUT}")
    if not isinstance(image, nib.Nifti1Image):  # Nifti2Image is a subclass
        raise UserError(f"expected a single-file NIfTI image, got {type(image).__name__}")
    shape = image.shape[:4] if image.ndim == 5 and image.shape[4] == 1 else image.shape
    if len(shape) != 4:
        raise UserError(f"a scan needs four axes (x, y, z, time), this image has shape {image.shape}")
    if image.get_data_dtype().kind not in "iuf":
        raise UserError(f"a scan needs real numbers, this image holds {image.get_data_dtype()}")
    check_orientation(image)
    proxy = image.dataobj  # the header of a loaded image has forgotten offset, slope and intercept
    return ImageStream(
        path,
        image.header,
        (int(shape[0]), int(shape[1]), int(shape[2])),
        int(shape[3]),
        np.asarray(image.affine, np.float64),
        int(proxy.offset),
        float(proxy.slope),
        float(proxy.inter),
    )


def check_orientation(image: Any) -> None:
    """Refuse an image that does not say where its voxels are: parcels would be cut at a made-up place."""
    if not int(image.header["sform_code"]) and not int(image.header["qform_code"]):
        raise UserError("the image has no affine (sform and qform code 0): its place in space is unknown")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-9:
        raise UserError("the affine of the image is not invertible")
