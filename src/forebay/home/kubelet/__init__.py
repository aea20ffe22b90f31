"""The kubelet of the embedded home: pods are groups of child processes on virtual nodes."""
