"""Run folders: fit, pretrain, embed scans."""
