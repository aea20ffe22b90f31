"""LocalModelCache and LocalModelNamespaceCache: entries, volumes and download Jobs on every node of their
groups."""
