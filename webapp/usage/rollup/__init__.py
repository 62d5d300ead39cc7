"""How sums follow from requests: each is counted once, whatever process is stopped at whatever
moment."""
