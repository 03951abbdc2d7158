"""Contrastive losses: InfoNCE, SigLIP, relations between pairs, temperature."""
