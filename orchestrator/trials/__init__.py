"""The lab on trial: twins, mutants, coverage, bench, endurance, doctor."""
