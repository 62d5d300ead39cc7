"""The rows of workflows' runs and of their steps; what they mean is workflow/'s."""
