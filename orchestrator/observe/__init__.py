"""Observations, and the journal in which a running lab collects them."""
