"""One module a format: where its rows are, and what a row becomes."""
