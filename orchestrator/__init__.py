"""Scenarios, the lab, the judge, results and the command line."""
