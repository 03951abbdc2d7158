"""What carries a match: genes and connections, tested on people whom nothing was fitted on."""
