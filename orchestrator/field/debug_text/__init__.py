"""A driver's debug text beside the wire, and where the two contradict each other."""
