"""A lab in somebody's hands: a run whose scenarios are asked for one by one, and tests written in Python."""
