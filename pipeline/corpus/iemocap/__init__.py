"""Reader of IEMOCAP."""
