"""Mechanical mutants of the C code, and whether the lab catches them."""
