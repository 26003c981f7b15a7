"""Who still lives, who no longer does, and what is kept of it: heartbeat, watchdog, limits, silence, crash evidence."""
