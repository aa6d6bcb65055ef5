"""What `QualityMonitor` is made of."""
