"""The reference genome: letters, contigs, gene windows."""
