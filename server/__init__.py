"""clearsync: a notification handled on one device disappears from the agent's others."""

__version__ = "0.1.0"
