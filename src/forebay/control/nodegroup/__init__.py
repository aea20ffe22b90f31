"""LocalModelNodeGroup: the DaemonSet of its agents, and what its nodes have used and available."""
