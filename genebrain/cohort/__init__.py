"""People: the only room that joins genomes and scans by person."""
