"""The servers of the comparison: ours, and what one would take instead. What each runs on is in a folder of its own."""
