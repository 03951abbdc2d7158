"""The one Lightning loop, its steps, samplers, adapters and collectives."""
