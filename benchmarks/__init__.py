"""Measurements that the documentation cites; each is a command of its own."""
