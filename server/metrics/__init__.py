"""What a worker counts, in plain integers and fixed buckets, and each of it as a figure with a name and labels."""

from server.metrics.counted import DOCS, GAUGES, HISTOGRAMS, OF_PROCESS, Metrics, Sample, ended_as, samples
from server.metrics.histogram import Histogram
from server.metrics.labels import CODES, LIMITS, POSTS, REFUSALS, RESULTS, SCHEMES, TRANSPORTS

__all__ = [
    "CODES",
    "DOCS",
    "GAUGES",
    "HISTOGRAMS",
    "LIMITS",
    "OF_PROCESS",
    "POSTS",
    "REFUSALS",
    "RESULTS",
    "SCHEMES",
    "TRANSPORTS",
    "Histogram",
    "Metrics",
    "Sample",
    "ended_as",
    "samples",
]
