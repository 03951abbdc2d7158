"""Who is who: the only place that joins genomes and scans by person."""
