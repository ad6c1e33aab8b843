"""Devices, processes, files and DVC stages; nothing here decides a value that is written."""
