"""A run divided among the hosts of a Ray cluster, one deployment at a time."""
