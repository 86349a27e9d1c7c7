"""The run folder: its tables and files, where they came from, and what people said of them."""
