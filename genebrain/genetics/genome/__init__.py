"""Letters and alleles: reference, gene windows, VCF and PGEN, haplotypes, dosages."""
