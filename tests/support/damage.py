"""Damage as a failing disk does it, by the same hand as in `wsklab doctor --faults`."""

from wsklab.orchestrator.trials.run_faults import flip

__all__ = ["flip"]
