"""A plug-in for lifelong: a method, a network and a stream."""
