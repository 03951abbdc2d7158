"""Fine-tuning of the DNA model on labelled sequences."""
