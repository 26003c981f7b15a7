"""Carrying out a scenario's steps, and naming what went wrong meanwhile."""
