"""What the client of a run does: it keeps the book of rows, gives batches out, and counts each row once."""
