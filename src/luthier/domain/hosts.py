"""How a machine calls itself."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names under which a server is reached from its own machine alone."""
