"""What is measured, one kind a file; `bench/plan.py` says of whom and how often."""
