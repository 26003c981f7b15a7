"""What a new Windows is told: the answer file, and what lies on the lab's own disc."""
