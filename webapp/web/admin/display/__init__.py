"""Writing values for people: numbers and times, charts, lists, downloads."""
