"""The comparison of models: its rows, their results, the table and its figures."""
