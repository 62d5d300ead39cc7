"""The pages of the console, one page or one group of forms a module."""
