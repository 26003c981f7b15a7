"""What is kept of a failure for another host: bundles, and recordings that are played again."""
