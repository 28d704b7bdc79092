"""The formats of a request's body, one decoder a file: bytes to the plain object that `meaning` reads."""
