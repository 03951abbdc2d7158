"""Splits by family, stratified by site, and their audit."""
