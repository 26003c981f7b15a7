"""Target, peer and wire as one; foreign drivers; kept snapshots."""
