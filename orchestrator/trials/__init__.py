"""The lab on trial: twins, faults, coverage, bench, endurance, doctor."""
