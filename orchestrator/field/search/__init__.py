"""Trials around a failure: near scenarios, smaller ones, and what trials prove."""
