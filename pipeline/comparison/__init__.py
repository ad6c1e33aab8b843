"""The comparison of models: rows, training and testing them, the table and its figures."""
