"""What travels between client and workers, by its SHA-256: images, drivers, kept snapshots, the evidence of rows."""
