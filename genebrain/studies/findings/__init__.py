"""Findings: genes and connections that carry a match, tested on people whom nothing was fitted on."""
