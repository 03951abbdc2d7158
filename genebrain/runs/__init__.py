"""What makes a run folder: fit, pretrain, embed scans."""
