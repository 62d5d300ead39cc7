"""Reading forms: their shapes, what was typed when a form is refused, double submits."""
