"""How sums follow from requests: each is counted once, whoever is stopped when."""
