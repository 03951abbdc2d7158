"""Self-supervised training of scan encoders."""
