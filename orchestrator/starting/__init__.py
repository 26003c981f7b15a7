"""A new user's folder: what is read from the driver's file, what a trial run shows, and the files that come of it."""
