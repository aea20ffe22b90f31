"""Service: the addresses and ports of its pods as EndpointSlices."""
