"""Records of a window to the alleles that each haplotype carries, dosages, and what was odd."""
