"""Engines that run the shares of a long piece of work: this machine, a Dask cluster, or the jobs of an array."""
