"""The sessions of the console and the links that begin one, as rows."""
