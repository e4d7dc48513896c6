"""Every metric that the Python processes expose, declared here and nowhere else.

Base units, bounded labels, Istio's names where it has one. The engine's traffic counters
are read by a collector, at scrape time.
"""
