"""One image or parcel table to numbers: NIfTI, atlas, mask, cleaning, motion."""
