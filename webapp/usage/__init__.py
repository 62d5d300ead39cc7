"""What requests cost and how they ended: records, their sums over time, percentiles."""
