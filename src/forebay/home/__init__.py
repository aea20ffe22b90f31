"""The embedded home: API server, workload controllers, pods as processes."""
