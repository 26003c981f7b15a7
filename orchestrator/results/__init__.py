"""What a run tells people and build servers: rows, results.json, JUnit, page, plots, console."""
