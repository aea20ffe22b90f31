"""What `kubectl get` shows of each kind: columns, and one function per kind that fills a row."""
