"""Scenarios made from captured connections, and how near their runs come."""
