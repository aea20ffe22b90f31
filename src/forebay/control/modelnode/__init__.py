"""LocalModelNode: labels on the Node for its ready copies, and an end for lists without a Node."""
