"""What a run needs around its work; nothing here decides a value that is written."""
