"""What operators see: metrics, the access log, health, and the comparison with the backend's own counters."""
