"""What rate limits count with: windows, leaky buckets, and slots for what runs at once; in memory or in Redis."""
