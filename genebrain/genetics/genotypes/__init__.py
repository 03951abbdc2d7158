"""Files of genotypes: VCF, BCF and PGEN to the records of a window, checked against a second count."""
