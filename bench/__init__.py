"""How fast clearsync is, measured beside what one would take instead: `make bench`."""
