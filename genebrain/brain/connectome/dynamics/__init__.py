"""Kinds of scan features that look at time: directed coupling, coherence of networks, and their envelopes."""
