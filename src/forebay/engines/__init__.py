"""Model servers that run in pods of the embedded home."""
