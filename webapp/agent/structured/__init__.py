"""Answers of a wanted form: what is asked for, how an answer is read, and what is wrong with it."""
