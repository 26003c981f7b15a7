"""What a worker does: it offers slots, and plays batches on the labs of its slots, each in a process of its own."""
